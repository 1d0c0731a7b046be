"""What the controller knows about the processor, the GPU and memory pressure of its machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_OVERCOMMIT_START: Final = 1.15
_OVERCOMMIT_MAX: Final = 2.0
_OVERCOMMIT_UP: Final = 0.05
_OVERCOMMIT_DOWN: Final = 0.01
_IDLE_GAIN: Final = 0.4
_MANY_IDLE: Final = 0.1
_FEW_IDLE: Final = 0.03
# Foreign load counts soon when it rises, and for some periods after it has fallen.
_RISE_GAIN: Final = 0.5
_FALL_GAIN: Final = 0.1
_GPU_LIMIT_START: Final = 1.3
# Overload of the processor: the jobs need this many cores per core beyond what admission permits,
# and other programs use at least this share of the machine.
_OVERLOAD: Final = 0.6
_MIN_FOREIGN: Final = 0.25
OVERLOAD_PERIODS: Final = 5
# Share of time in which all processes wait for memory, above which jobs are frozen.
_MAX_MEMORY_STALL: Final = 0.1
MEMORY_PERIODS: Final = 2


def compute_foreign(busy: float, own: float, nice: float, own_nice: float) -> float:
    """Return the cores that programs other than jobs use. busy, own: cores that all programs and
    that the jobs use. nice, own_nice: the parts of these at low priority.

    What jobs have not used of `nice` is not foreign load: such programs give way to others as jobs
    do, and a job does not disturb them.
    """
    return max(busy - own - max(nice - own_nice, 0.0), 0.0)


@dataclass(slots=True)
class ProcessorState:
    """overcommit: factor on the cores up to which jobs are admitted. foreign: cores that programs
    other than jobs use. idle: cores that nothing uses; own: that jobs use. All are smoothed."""

    cores: int
    overcommit: float = _OVERCOMMIT_START
    foreign: float = 0.0
    idle: float = 0.0
    own: float = 0.0
    gpu_limit: float = _GPU_LIMIT_START
    gpu_idle: float = 0.0
    overload_periods: int = 0

    def measure(self, busy: float, nice: float, own: float, gpu_busy: float | None) -> None:
        """Record one period. busy, own: cores that all programs and that the jobs used. nice: the
        part of `busy` at low priority, as jobs are here."""
        foreign = compute_foreign(busy, own, nice, own)
        gain = _RISE_GAIN if foreign > self.foreign else _FALL_GAIN
        self.foreign += gain * (foreign - self.foreign)
        self.idle += _IDLE_GAIN * (max(self.cores - busy, 0.0) - self.idle)
        self.own += _IDLE_GAIN * (own - self.own)
        if gpu_busy is not None:
            self.gpu_idle += _IDLE_GAIN * (max(1 - gpu_busy, 0.0) - self.gpu_idle)

    def adapt(self, *, is_limiting: bool, is_gpu_limiting: bool, are_settled: bool) -> None:
        """Adapt the overcommit. is_limiting: the processor keeps a job from its start. are_settled:
        the use of all running jobs is known."""
        if is_limiting and are_settled and self.idle > _MANY_IDLE * self.cores:
            self.overcommit = min(self.overcommit + _OVERCOMMIT_UP, _OVERCOMMIT_MAX)
        elif self.idle < _FEW_IDLE * self.cores:
            self.overcommit = max(self.overcommit - _OVERCOMMIT_DOWN, _OVERCOMMIT_START)
        if is_gpu_limiting and are_settled and self.gpu_idle > _MANY_IDLE:
            self.gpu_limit = min(self.gpu_limit + _OVERCOMMIT_UP, _OVERCOMMIT_MAX)
        elif self.gpu_idle < _FEW_IDLE:
            self.gpu_limit = max(self.gpu_limit - _OVERCOMMIT_DOWN, _GPU_LIMIT_START)

    def count_overload(self, demanded: float) -> bool:
        """Return whether the jobs, which demand this many cores, leave other programs too little
        for OVERLOAD_PERIODS in a row. The bound lies above that of admission: a job that was just
        admitted must not be frozen for it."""
        is_high = self.foreign + demanded > (self.overcommit + _OVERLOAD) * self.cores
        if is_high and self.foreign > _MIN_FOREIGN * self.cores:
            self.overload_periods += 1
        else:
            self.overload_periods = 0
        return self.overload_periods >= OVERLOAD_PERIODS


@dataclass(slots=True)
class MemoryPressure:
    """Counts the periods in which memory was short."""

    reserve_bytes: int
    periods: int = 0
    is_high: bool = False

    def measure(self, available_bytes: int, stalled: float) -> None:
        """stalled: share of the period in which all processes waited for memory."""
        is_stalled = stalled > _MAX_MEMORY_STALL
        self.periods = self.periods + 1 if is_stalled else 0
        self.is_high = available_bytes < self.reserve_bytes / 2 or self.periods >= MEMORY_PERIODS
