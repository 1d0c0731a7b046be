"""Running jobs of short commands: they end before a sample could see them, so their number alone is
limited."""

from __future__ import annotations

from typing import Final

from mythjobs.agent.scaling.counters import JobKey
from mythjobs.agent.scaling.footprint import SHORT_S

_MIN_JOBS: Final = 16
_JOBS_PER_CORE: Final = 4
# A job of a short command is measured once it has run for this time.
_MAX_S: Final = 2 * SHORT_S


class ShortJobs:
    """The jobs by key, each with its command and the time of its start."""

    def __init__(self, cores: int) -> None:
        self.limit = max(_MIN_JOBS, _JOBS_PER_CORE * cores)
        self._jobs: dict[JobKey, tuple[str, float]] = {}

    def __len__(self) -> int:
        return len(self._jobs)

    def add(self, key: JobKey, command: str, now_s: float) -> None:
        self._jobs[key] = (command, now_s)

    def remove(self, key: JobKey) -> str | None:
        """Remove a job, if it is here. Return its command."""
        found = self._jobs.pop(key, None)
        return None if found is None else found[0]

    def take_long(self, now_s: float) -> list[tuple[JobKey, str, float]]:
        """Remove the jobs that have run on. Return each with its command and start."""
        found = [
            (key, command, started_s)
            for key, (command, started_s) in self._jobs.items()
            if now_s - started_s > _MAX_S
        ]
        for key, *_ in found:
            del self._jobs[key]
        return found

    @property
    def room(self) -> int:
        return max(self.limit - len(self._jobs), 0)
