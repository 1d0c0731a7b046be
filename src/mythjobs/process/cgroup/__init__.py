"""Cgroups that hold the process tree of one child each, where the machine allows them."""

from mythjobs.process.cgroup.leaf import ChildCgroup
from mythjobs.process.cgroup.pool import CgroupPool, open_cgroup_pool

__all__ = ["CgroupPool", "ChildCgroup", "open_cgroup_pool"]
