"""Cgroups for the process trees of children, one cgroup per child, if the machine permits them."""

from mythjobs.process.cgroup.leaf import ChildCgroup
from mythjobs.process.cgroup.pool import CgroupPool, open_cgroup_pool

__all__ = ["CgroupPool", "ChildCgroup", "open_cgroup_pool"]
