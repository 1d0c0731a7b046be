"""Decisions of a watch: which files are new and complete, and when a job may be submitted. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

# Delays of submits that the master refuses for now.
_FIRST_RETRY_S: Final = 1.0
_LAST_RETRY_S: Final = 30.0


class FileState(NamedTuple):
    """Figures of a file that change when its content changes."""

    size: int
    mtime_ns: int
    inode: int


@dataclass(frozen=True)
class Rate:
    """At most `count` jobs in any `seconds`."""

    count: int
    seconds: float


@dataclass
class _Candidate:
    state: FileState
    since_s: float


@dataclass
class KnownFile:
    """A file that was handled: its state, and the id of its job; 0 without one."""

    state: FileState
    job: int = 0


@dataclass
class FileTracker:
    """Files of the watched directory. settle_s: a file that does not change for this
    time is complete.

    Times are seconds of a clock that never steps; `now_s` is an argument everywhere.
    """

    settle_s: float
    rate: Rate | None = None
    known: dict[str, KnownFile] = field(default_factory=dict)
    _candidates: dict[str, _Candidate] = field(default_factory=dict)
    _submitted_s: list[float] = field(default_factory=list)
    _retry_s: float = 0.0
    _retry_delay_s: float = 0.0

    def observe(self, found: Mapping[str, FileState], now_s: float) -> None:
        """Record the files that are there now.

        Handled files that are gone stay known: a disk that is not mounted for a while has all of
        them again, and a new file of that name has another state.
        """
        for path in [each for each in self._candidates if each not in found]:
            del self._candidates[path]
        for path, state in found.items():
            known = self.known.get(path)
            if known is not None and known.state == state:
                self._candidates.pop(path, None)
                continue
            candidate = self._candidates.get(path)
            if candidate is None or candidate.state != state:
                self._candidates[path] = _Candidate(state, now_s)

    def touch(self, path: str, now_s: float) -> None:
        """Record that a candidate is still being written, although its state did not change."""
        if path in self._candidates:
            self._candidates[path].since_s = now_s

    def list_due(self, now_s: float) -> list[str]:
        """Return the files for which a job may be submitted now, the oldest first."""
        if now_s < self._retry_s:
            return []
        due = sorted(
            (each.since_s, path)
            for path, each in self._candidates.items()
            if now_s - each.since_s >= self.settle_s
        )
        return [path for _, path in due[: self._free(now_s)]]

    def next_s(self, now_s: float) -> float | None:
        """Return when a file may be due; None if there is no candidate."""
        if not self._candidates:
            return None
        first = min(each.since_s for each in self._candidates.values()) + self.settle_s
        first = max(first, self._retry_s)
        if self.rate is not None and self._free(now_s) == 0:
            first = max(first, self._submitted_s[0] + self.rate.seconds)
        return first

    def state_of(self, path: str) -> FileState:
        return self._candidates[path].state

    def accept(self, path: str, job: int, now_s: float, *, counts: bool = True) -> None:
        """Record that a file is handled. counts: whether the rate counts it."""
        self.known[path] = KnownFile(self._candidates.pop(path).state, job)
        self._retry_s = self._retry_delay_s = 0.0
        if counts and self.rate is not None:
            self._submitted_s.append(now_s)

    def defer(self, now_s: float) -> bool:
        """Delay all submits, because the master cannot be reached. Return whether it is the first
        delay."""
        is_first = not self._retry_delay_s
        self._retry_delay_s = min(max(_FIRST_RETRY_S, 2 * self._retry_delay_s), _LAST_RETRY_S)
        self._retry_s = now_s + self._retry_delay_s
        return is_first

    def accept_present(self) -> int:
        """Take all candidates as handled, without jobs; return their number."""
        count = len(self._candidates)
        for path, each in self._candidates.items():
            self.known[path] = KnownFile(each.state)
        self._candidates.clear()
        return count

    def has_candidates(self) -> bool:
        return bool(self._candidates)

    def _free(self, now_s: float) -> int:
        if self.rate is None:
            return len(self._candidates)
        begin_s = now_s - self.rate.seconds
        self._submitted_s = [each for each in self._submitted_s if each > begin_s]
        return max(0, self.rate.count - len(self._submitted_s))


def is_own_change(changed_ms: int, ended_ms: int | None) -> bool:
    """Return whether a file's last change was made by its own job, which wrote to its input.

    ended_ms: when the job ended; None if it still runs, so that the change may be its own.
    """
    return ended_ms is None or changed_ms <= ended_ms + 1000
