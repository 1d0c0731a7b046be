"""Estimate of the time that a job needs, from its progress over time."""

from __future__ import annotations

from typing import Final, NamedTuple

# Number of samples that are kept. When they are more, every second one is dropped, so that those
# that remain still cover the whole run.
_MAX_SAMPLES: Final = 32
# A fall of the percentage by more than this begins a new phase of the program: the progress before
# it says nothing about the rest. rsync falls by a few points when it finds further files.
_NEW_PHASE_POINTS: Final = 5.0
# Least gain and duration that a rate is computed from.
_MIN_GAIN_POINTS: Final = 0.5
_MIN_SPAN_MS: Final = 1000


class Sample(NamedTuple):
    """A reported percentage. at_ms: when, on a clock that stops while the job is frozen."""

    at_ms: int
    percent: float


class ProgressTrack(NamedTuple):
    """What a running attempt has reported. Instances are replaced, never changed.

    Times are those of a monotonic clock, but end_ms, the end that the program itself expects, is
    wall clock. step: the last gain in points. frozen_ms: how long the attempt was frozen before
    `frozen_since_ms`, the start of its present freeze (None: not frozen).
    """

    samples: tuple[Sample, ...] = ()
    end_ms: int | None = None
    step: float = 0.0
    frozen_ms: int = 0
    frozen_since_ms: int | None = None

    def add_percent(self, percent: float, now_ms: int) -> ProgressTrack:
        """Return the track with a reported percentage."""
        samples = self.samples
        gain = percent - samples[-1].percent if samples else 0.0
        if samples and not gain:
            return self
        if gain < -_NEW_PHASE_POINTS:
            samples = ()
        elif len(samples) == _MAX_SAMPLES:
            samples = samples[::2]
        sample = Sample(self._to_active_ms(now_ms), percent)
        return self._replace(samples=(*samples, sample), step=gain if gain > 0 else self.step)

    def with_frozen(self, is_frozen: bool, now_ms: int) -> ProgressTrack:
        """Return the track of the attempt when it is frozen, or thawed, at `now_ms`."""
        since_ms = self.frozen_since_ms
        if is_frozen:
            return self if since_ms is not None else self._replace(frozen_since_ms=now_ms)
        if since_ms is None:
            return self
        frozen_ms = self.frozen_ms + now_ms - since_ms
        return self._replace(frozen_ms=frozen_ms, frozen_since_ms=None)

    def _to_active_ms(self, now_ms: int) -> int:
        since_ms = self.frozen_since_ms
        return (now_ms if since_ms is None else min(now_ms, since_ms)) - self.frozen_ms

    def compute_run_ms(self, elapsed_ms: int, now_ms: int) -> int:
        """Return how long the attempt has run, without the time that it was frozen, if its start
        was `elapsed_ms` ago."""
        return max(elapsed_ms - (now_ms - self._to_active_ms(now_ms)), 0)

    def estimate_left_ms(self, elapsed_ms: int | None, now_ms: int) -> int | None:
        """Return the time left in ms, by the rate of the progress so far; None if unknown.

        elapsed_ms: time since the start of the attempt, None if that is unknown.

        Two rates are averaged, in terms of the time left: the mean of the whole run, and the mean
        of its second half, which follows a change. Time before the first report does not count,
        because programs begin with work that is no progress, like a scan of the source. Only where
        there is no other report, the start counts as 0 %.
        """
        if not self.samples or self.samples[-1].percent >= 100:
            return None
        at_ms, last = self._to_active_ms(now_ms), self.samples[-1]
        first = self.samples[0]
        if not _is_usable(first, last) and elapsed_ms is not None:
            first = Sample(at_ms - self.compute_run_ms(elapsed_ms, now_ms), 0.0)
        if not _is_usable(first, last):
            return None
        middle_ms = (first.at_ms + last.at_ms) // 2
        middle = max((each for each in self.samples if each.at_ms <= middle_ms), default=first)
        if not _is_usable(middle, last):
            middle = first
        lefts = [self._project(each, last, at_ms) for each in (first, middle)]
        return round(sum(lefts) / len(lefts))

    def _project(self, first: Sample, last: Sample, at_ms: int) -> float:
        """Return the time left in ms, by the rate between two samples.

        The job has worked on since the last report. If the next one is overdue, the rate is at most
        the one that results if it comes now: so the time left grows while a job makes no progress.
        """
        rate = (last.percent - first.percent) / (last.at_ms - first.at_ms)
        step = max(min(self.step, 100 - last.percent), 0.1)
        waited_ms = max(at_ms - last.at_ms, 0)
        if waited_ms <= step / rate:
            return max((100 - last.percent) / rate - waited_ms, 0.0)
        rate = (last.percent + step - first.percent) / (at_ms - first.at_ms)
        return max(100 - last.percent - step, 0.0) / rate


def _is_usable(first: Sample, last: Sample) -> bool:
    """Return whether a rate can be computed from two samples."""
    gain, span_ms = last.percent - first.percent, last.at_ms - first.at_ms
    return gain >= _MIN_GAIN_POINTS and span_ms >= _MIN_SPAN_MS


def estimate_percent(run_ms: int, usual_ms: float) -> float:
    """Return the progress of an attempt that has run for `run_ms`, by the usual run time: at most
    99 %, because an attempt that takes longer than usual has not ended either."""
    return round(min(100 * run_ms / max(usual_ms, 1.0), 99.0), 1)
