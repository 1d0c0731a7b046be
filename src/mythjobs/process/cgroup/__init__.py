"""What holds the process tree of one child: a cgroup of its own, where this machine has them."""

from mythjobs.process.cgroup.interface import Containment, Groups
from mythjobs.process.cgroup.pool import best_here

__all__ = ["Containment", "Groups", "best_here"]
