"""Cgroups that hold the process tree of one child each, where the machine allows them."""

from mythjobs.process.cgroup.interface import CgroupProvider, ChildCgroup
from mythjobs.process.cgroup.pool import open_cgroup_pool

__all__ = ["CgroupProvider", "ChildCgroup", "open_cgroup_pool"]
