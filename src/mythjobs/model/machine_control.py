"""Drain and pause of a machine, which concern all its jobs."""

from __future__ import annotations

from typing import Final, NamedTuple

from mythjobs.model.zone import format_local_time

# Holder of the freezes of a paused machine's jobs. A job that a user has paused has another one,
# so that the end of the machine's pause does not resume that job.
MACHINE_HOLDER: Final = "machine"


class MachineControl(NamedTuple):
    """Whether a machine is drained, paused, or both, regardless of its run windows.

    is_drained: it starts no job; those that run continue. is_paused: it starts no job, and those
    that run are frozen until `until_ms` (wall clock; None: until a user resumes the machine).
    """

    is_drained: bool = False
    is_paused: bool = False
    until_ms: int | None = None

    @property
    def accepts_jobs(self) -> bool:
        return not (self.is_drained or self.is_paused)

    @property
    def may_resume(self) -> bool:
        """Whether the machine starts jobs now, or by itself at the end of its pause."""
        return not self.is_drained and (not self.is_paused or self.until_ms is not None)

    def has_ended_at(self, wall_ms: int) -> bool:
        """Return whether the machine is paused, and the end of the pause has come."""
        return self.is_paused and self.until_ms is not None and self.until_ms <= wall_ms

    def describe_pause(self, now_ms: int, zone: str) -> str:
        """Return a text like "is paused until 10:30", to follow the name of a paused machine."""
        if self.until_ms is None:
            return "is paused"
        return f"is paused until {format_local_time(self.until_ms, now_ms, zone)}"

    def without_pause(self) -> MachineControl:
        return MachineControl(self.is_drained)


NO_CONTROL: Final = MachineControl()
