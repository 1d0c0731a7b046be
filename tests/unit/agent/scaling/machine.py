"""Machine whose load tests set second by second, for the scaling controller."""

from __future__ import annotations

from mythjobs.agent.scaling.controller import ScalingController
from mythjobs.agent.scaling.counters import (
    MIB,
    DiskCounters,
    JobCounters,
    JobKey,
    MachineCounters,
)
from mythjobs.agent.scaling.footprint import Footprint
from mythjobs.agent.scaling.freezing import FreezeChange

GIB = 1024 * MIB
FIRST, SECOND, THIRD = (1, 1), (2, 1), (3, 1)


class Machine:
    """Feeds a controller with the load of a machine of 4 cores, 16 GiB and a disk sda of
    100 MiB/s, second by second."""

    def __init__(self, controller: ScalingController | None = None) -> None:
        self.controller = controller or ScalingController(4, 16 * GIB)
        self.now_s = 0.0
        self.cpu_s = self.stall_s = self.busy_s = self.overhead_s = self.nice_s = 0.0
        self.moved = 0
        self.foreign_stall_s: float | None = None
        self.jobs: dict[JobKey, JobCounters] = {}
        self.frozen: set[JobKey] = set()  # by the controller
        self.step()

    def start(self, key: JobKey, command: str) -> None:
        self.controller.add_job(key, command, self.now_s)
        self.jobs[key] = JobCounters()

    def end(self, key: JobKey, wall_s: float, *, has_succeeded: bool = True) -> bool:
        final = self.jobs.pop(key)
        return self.controller.remove_job(key, final, wall_s, has_succeeded=has_succeeded)

    def use(
        self,
        key: JobKey,
        *,
        cpu: float = 0.0,
        wait: float = 0.0,
        mib: int = 0,
        memory: int = 50 * MIB,
    ) -> None:
        """Add what a job uses in this second."""  # fmt: skip
        before = self.jobs[key]
        moved = before.moved_bytes.get("sda", 0) + mib * MIB
        self.jobs[key] = JobCounters(
            before.cpu_s + cpu, before.cpu_wait_s + wait, memory, {"sda": moved}
        )
        self.cpu_s += cpu
        self.moved += mib * MIB
        self.busy_s += mib / 100

    def step(
        self,
        *waiting: str,
        foreign_cpu: float = 0.0,
        foreign_mib: int = 0,
        free: int = 12 * GIB,
        stalled: float = 0.0,
        foreign_stalled: float | None = None,
    ) -> list[FreezeChange]:
        """End this second. foreign_stalled: how long other programs waited for the disk."""
        self.now_s += 1
        self.cpu_s += foreign_cpu
        self.moved += foreign_mib * MIB
        self.busy_s += foreign_mib / 100
        self.stall_s += stalled
        if foreign_stalled is not None:
            self.foreign_stall_s = (self.foreign_stall_s or 0.0) + foreign_stalled
        changes = self.controller.step(
            MachineCounters(
                self.cpu_s, self.nice_s, free, self.stall_s,
                {"sda": DiskCounters(self.moved, self.busy_s)}, dict(self.jobs), self.overhead_s,
                foreign_stall_s=self.foreign_stall_s,
            ),
            waiting,
            self.now_s,
        )  # fmt: skip
        for each in changes:
            (self.frozen.add if each.on else self.frozen.discard)(each.key)
        return changes


def known(controller: ScalingController, **footprints: Footprint) -> None:
    controller.footprints.update(footprints)
