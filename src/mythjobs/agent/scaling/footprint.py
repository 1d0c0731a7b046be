"""Footprint of a command on a machine: what one of its jobs uses, learned from ended jobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

# Weight of the newest run in the mean CPU use, so that the mean follows a change.
_MIN_GAIN: Final = 0.2
# Contention only lowers a rate. So a higher rate counts at once, and the learned value follows a
# lower one by this share at each run.
_DECAY: Final = 0.9
# Runs at least this short end before a sample can measure them.
SHORT_S: Final = 0.5
_MIN_SHORT_RUNS: Final = 3
# Shares of a disk below this are noise.
MIN_SHARE: Final = 0.02
_FIELD_COUNT: Final = 5


@dataclass(slots=True)
class Footprint:
    """What one job of a command uses while no other job slows it down.

    cpu: mean number of cores. disks: by disk, share of the disk's time. gpu: share of the GPU.
    peak_bytes: highest resident memory. wall_s: longest recent duration. runs: number of runs.
    """

    runs: int = 0
    cpu: float = 0.0
    peak_bytes: int = 0
    wall_s: float = 0.0
    gpu: float = 0.0
    disks: dict[str, float] = field(default_factory=dict)

    @property
    def is_short(self) -> bool:
        return self.runs >= _MIN_SHORT_RUNS and self.wall_s <= SHORT_S

    def learn(
        self, cpu: float, disks: Mapping[str, float], gpu: float, peak_bytes: int, wall_s: float
    ) -> None:
        """Learn from a job that succeeded; the arguments are its measured figures."""
        self.learn_peak(peak_bytes)
        if not self.runs:
            self.cpu, self.gpu = cpu, gpu
            self.disks = {disk: share for disk, share in disks.items() if share >= MIN_SHARE}
        else:
            gain = max(_MIN_GAIN, 1 / (self.runs + 1))
            self.cpu += gain * (cpu - self.cpu)
            self.gpu += gain * (gpu - self.gpu)
            self.disks = {
                disk: share
                for disk in {**self.disks, **disks}
                if (share := _rise(self.disks.get(disk, 0.0), disks.get(disk, 0.0))) >= MIN_SHARE
            }
        self.learn_duration(wall_s)

    def learn_duration(self, wall_s: float) -> None:
        """Learn from a job of which nothing else was measured. The longest of the last runs counts:
        a command must not count as short because a few of its jobs had nothing to do."""
        self.wall_s = max(wall_s, _DECAY * self.wall_s + (1 - _DECAY) * wall_s)
        self.runs += 1

    def learn_peak(self, peak_bytes: int) -> None:
        """Learn the memory of a job that failed; its other figures are not those of a whole run."""
        self.peak_bytes = round(_rise(self.peak_bytes, peak_bytes))

    def to_json(self) -> list[Any]:
        shares = {disk: round(share, 3) for disk, share in self.disks.items()}
        return [
            self.runs, round(self.cpu, 3), self.peak_bytes, round(self.wall_s, 3),
            round(self.gpu, 3), shares,
        ]  # fmt: skip

    @classmethod
    def from_json(cls, value: Sequence[Any]) -> Footprint:
        """Raises ValueError if `value` is not the result of to_json()."""
        try:
            runs, cpu, peak_bytes, wall_s, gpu = (float(each) for each in value[:_FIELD_COUNT])
            disks = {str(disk): float(share) for disk, share in value[_FIELD_COUNT].items()}
        except (TypeError, IndexError, AttributeError) as error:
            raise ValueError(f"not a footprint: {error}") from None
        return cls(int(runs), cpu, int(peak_bytes), wall_s, gpu, disks)


def _decay(old: float, new: float) -> float:
    return _DECAY * old + (1 - _DECAY) * new


def _rise(old: float, new: float) -> float:
    return max(new, _decay(old, new))
