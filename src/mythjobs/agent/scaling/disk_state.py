"""What the controller knows about one disk: its load, the share that programs other than jobs use,
and how many heavy streams it serves best."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from mythjobs.agent.scaling.counters import MIB
from mythjobs.agent.scaling.running_job import SATURATED, DiskRate

# A job that keeps a disk busy for this share of its time is a heavy stream.
HEAVY_SHARE: Final = 0.5
# Foreign input and output up to this share of a disk's time is ignored.
MIN_FOREIGN: Final = 0.04
_MIN_FOREIGN_BYTES_PER_S: Final = MIB
_MIN_FOREIGN_OF_SINGLE: Final = 0.005
_LOAD_GAIN: Final = 0.3
# Foreign load is assumed to last: after its end its share falls by half in 23 periods, so that
# the pause of a recording does not let another stream start.
_FOREIGN_HOLD: Final = 0.97
# Written data reaches the disk later, even after the end of the job. Bytes that jobs have moved and
# the disk has not are a credit, from which the disk's bytes beyond the jobs' are taken.
_CREDIT_HOLD: Final = 0.98

_FILL_START: Final = 0.7
_FILL_MAX: Final = 1.5
_FILL_UP: Final = 0.03
_FILL_DOWN: Final = 0.005
_FULL: Final = 0.95

_PROBE_SAMPLES: Final = 3
_MIN_SAMPLES: Final = 2
_PROBE_GAIN: Final = 1.08
_PROBE_LOSS: Final = 0.95
_FEWER_EQUAL: Final = 1.02
_COOLDOWN_S: Final = 60.0
_MAX_COOLDOWN_S: Final = 64 * 60.0
# A heavy stream counts as steady once it has run for this many periods.
STEADY_PERIODS: Final = 2


@dataclass(slots=True)
class _Throughput:
    """Throughput of the jobs with a certain number of heavy streams."""

    bytes_per_s: float = 0.0
    samples: int = 0

    def add(self, bytes_per_s: float) -> None:
        self.samples += 1
        gain = max(_LOAD_GAIN, 1 / self.samples)
        self.bytes_per_s += gain * (bytes_per_s - self.bytes_per_s)


@dataclass(slots=True)
class DiskState:
    """max_streams: number of heavy streams at which the throughput is best. fill: limit of the sum
    of light jobs' shares. foreign: share of the disk's time that other programs use."""

    single_bytes_per_s: float | None = None
    max_streams: int = 1
    fill: float = _FILL_START
    foreign: float = 0.0
    busy: float = 0.0
    rate: DiskRate = DiskRate(0.0, 0.0, None)
    is_probing: bool = False
    _foreign_mean: float = 0.0
    _credit_bytes: float = 0.0
    _throughput: dict[int, _Throughput] = field(default_factory=dict)
    _probe_after_s: float = 0.0
    _failures: int = 0

    @property
    def has_foreign_load(self) -> bool:
        return self.foreign > MIN_FOREIGN

    @property
    def stream_limit(self) -> int:
        """Number of heavy streams that may run now."""
        return 1 if self.has_foreign_load else self.max_streams + self.is_probing

    def measure(self, elapsed_s: float, moved_bytes: int, busy_s: float) -> DiskRate:
        """Record the load of one period and return it."""
        busy = min(max(busy_s / elapsed_s, 0.0), 1.0)
        self.rate = DiskRate(busy, max(moved_bytes, 0) / elapsed_s, self.single_bytes_per_s)
        self.busy += _LOAD_GAIN * (busy - self.busy)
        return self.rate

    def separate_foreign(self, elapsed_s: float, own_bytes: float) -> None:
        """Update the estimate of the foreign load: the part of the disk's busy time that goes to
        bytes which no job has moved.

        own_bytes: what the jobs have moved in the last `elapsed_s`.
        """
        total_bytes = self.rate.bytes_per_s * elapsed_s
        surplus = total_bytes - own_bytes
        from_credit = min(max(surplus, 0.0), self._credit_bytes)
        self._credit_bytes = _CREDIT_HOLD * (self._credit_bytes - from_credit) + max(-surplus, 0.0)
        foreign = max(surplus - from_credit, 0.0) / elapsed_s
        single = self.single_bytes_per_s or 0.0
        share = 0.0
        # Below this the ratio of bytes says nothing: a disk that the host throttles is busy all
        # the time with a few kilobytes.
        if foreign > max(_MIN_FOREIGN_BYTES_PER_S, _MIN_FOREIGN_OF_SINGLE * single):
            share = self.rate.busy * foreign / self.rate.bytes_per_s
        self._foreign_mean += _LOAD_GAIN * (share - self._foreign_mean)
        current = self._foreign_mean if self._foreign_mean > MIN_FOREIGN else 0.0
        self.foreign = max(current, _FOREIGN_HOLD * self.foreign)

    def adapt_fill(self, *, is_limiting: bool) -> None:
        """Adapt the limit of light shares. is_limiting: it keeps a job from its start."""
        if is_limiting and self.busy < _FILL_START:
            self.fill = min(self.fill + _FILL_UP, _FILL_MAX)
        elif self.busy > _FULL:
            self.fill = max(self.fill - _FILL_DOWN, _FILL_START)

    def adapt_streams(
        self,
        streams: int,
        own_bytes_per_s: float,
        now_s: float,
        *,
        is_waiting: bool,
        is_clean: bool,
    ) -> bool:
        """Find the best number of heavy streams by trying one more. Return whether one stream has
        to be frozen, because the additional one lowered the throughput.

        streams: heavy streams that run. is_waiting: a heavy job waits for this disk. is_clean:
        all of them ran through this whole period, and no job ended in it.
        """  # fmt: skip
        if self.has_foreign_load:
            self.is_probing = False
            return False
        if is_clean and streams and self.rate.busy > SATURATED:
            self._throughput.setdefault(streams, _Throughput()).add(own_bytes_per_s)
            if streams == 1:
                self.single_bytes_per_s = self._throughput[1].bytes_per_s
        best = self._throughput.get(self.max_streams)
        if self.is_probing:
            return best is not None and self._judge_probe(best, now_s)
        fewer = self._throughput.get(self.max_streams - 1)
        if (
            best is not None
            and fewer is not None
            and min(best.samples, fewer.samples) >= _MIN_SAMPLES
            and fewer.bytes_per_s * _FEWER_EQUAL >= best.bytes_per_s
        ):
            self.max_streams -= 1
        elif (
            is_waiting
            and best is not None
            and best.samples >= _MIN_SAMPLES
            and streams >= self.max_streams
            and now_s >= self._probe_after_s
        ):
            self.is_probing = True
            self._throughput.pop(self.max_streams + 1, None)
        return False

    def _judge_probe(self, best: _Throughput, now_s: float) -> bool:
        probe = self._throughput.get(self.max_streams + 1)
        if probe is None or probe.samples < _PROBE_SAMPLES:
            return False
        self.is_probing = False
        if probe.bytes_per_s >= _PROBE_GAIN * best.bytes_per_s:
            self.max_streams += 1
            self._failures = 0
            return False
        self._probe_after_s = now_s + min(_COOLDOWN_S * 2**self._failures, _MAX_COOLDOWN_S)
        self._failures += 1
        return probe.bytes_per_s < _PROBE_LOSS * best.bytes_per_s

    def to_json(self) -> list[float | None]:
        return [self.single_bytes_per_s, self.max_streams, round(self.fill, 3), self._failures]

    @classmethod
    def from_json(cls, value: list[float | None]) -> DiskState:
        """Raises ValueError if `value` is not the result of to_json()."""
        try:
            single, streams, fill, failures = value
            return cls(
                None if single is None else float(single),
                max(int(streams or 1), 1),
                min(max(float(fill or 0), _FILL_START), _FILL_MAX),
                _failures=int(failures or 0),
            )
        except (TypeError, ValueError) as error:
            raise ValueError(f"not a disk's figures: {error}") from None
