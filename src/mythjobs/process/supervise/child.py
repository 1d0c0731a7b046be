"""One supervised child: its requested settings and its state."""

from __future__ import annotations

import os
from collections.abc import Callable
from signal import SIGXCPU
from typing import Protocol, TypeVar

from mythjobs.clock import Now
from mythjobs.model.limits import Limits, Usage
from mythjobs.model.outcome import Breached, Exited, Lost, NotStarted, Outcome, Signalled
from mythjobs.process.cgroup import ChildCgroup
from mythjobs.process.procfs import ProcessInfo
from mythjobs.process.spawn.program import Program
from mythjobs.process.supervise.limit_check import LimitCheck
from mythjobs.process.supervise.streams import Stream

Timer = list[Callable[[], None]]


class Child:
    """Base class of the library's and the reaper's children.

    The supervisor changes the state in its event loop's thread only, except for the fields
    that a thread of the spawn pool fills in before it hands the child over.
    """

    __slots__ = (
        "best_effort", "contain", "is_session_leader", "leave_daemons", "limits", "mark",
        # Below: filled in by the spawn pool, then by the supervisor.
        "cgroup", "check_timer", "child_fds", "cpu_rlimit_s", "event_fds", "event_poll_timer",
        "exit_status", "freeze_holders", "frozen_ms", "frozen_since_ms", "grace_s", "has_exited",
        "has_grace_ended", "has_spawned", "is_draining", "is_kill_timed", "kill_at_ms", "left",
        "limit_check", "lost", "not_started", "open_streams", "peak_bytes", "pid", "pidfd",
        "rlimit_mark", "seen_members", "spawn_ms", "spawned_at", "stop_reason", "streams",
        "term_ms", "timers", "unenforced", "usage", "usage_at_stop", "wall_timer",
    )  # fmt: skip

    def __init__(self, limits: Limits, leave_daemons: bool = False) -> None:
        self.limits = limits
        self.leave_daemons = leave_daemons
        # contain: use a cgroup where available, even if no limit needs one.
        # best_effort: start even if a limit cannot be enforced.
        self.contain = self.best_effort = False
        # A value in the child's environment that no other child has, or "".
        self.mark = ""
        # A mark in a resource limit of the tree (tree_mark.py), or 0.
        self.rlimit_mark = 0
        self.is_session_leader = True
        self.pid = self.pidfd = -1
        # The supervisor has registered the process and reported its start.
        self.has_spawned = False
        # On the steady clock, just before the spawn.
        self.spawn_ms = 0
        self.spawned_at: Now | None = None
        self.not_started: NotStarted | None = None
        self.streams: list[Stream] = []
        # The child's ends of its pipes; closed here after the spawn.
        self.child_fds: list[int] = []
        self.open_streams: list[Stream] = []
        # The event loop watches the pipes.
        self.is_draining = False
        # Set when a stop begins.
        self.stop_reason: Outcome | None = None
        self.grace_s = limits.grace_s
        # On CLOCK_MONOTONIC: when TERM was sent, and when KILL is due.
        self.term_ms = self.kill_at_ms = 0
        # is_kill_timed: survivors were killed, and a timer limits the wait for their exit.
        self.has_grace_ended = self.is_kill_timed = False
        # has_exited: the leader is a zombie. exit_status: set once it is reaped. lost: set if the
        # host program has reaped it (reaping.py).
        self.has_exited = False
        self.exit_status: int | None = None
        self.lost: Lost | None = None
        self.usage = Usage()
        # Largest resident set of the leader that was observed while it ran.
        self.peak_bytes = 0
        # Usage of the tree, sampled before it was signalled.
        self.usage_at_stop: Usage | None = None
        # Members found by earlier searches; identifies one that leaves the session later.
        self.seen_members: dict[int, ProcessInfo] = {}
        self.freeze_holders: set[str] = set()
        self.frozen_since_ms: int | None = None
        # Pid and name of processes that were left running: daemons, and what cannot be killed.
        self.left: list[tuple[int, str]] = []
        # Total time frozen, without the current freeze.
        self.frozen_ms = 0
        self.cgroup: ChildCgroup | None = None
        # Limits that nothing enforces, with the reason.
        self.unenforced: dict[str, str] = {}
        # RLIMIT_CPU of each process of the tree (rlimits.py).
        self.cpu_rlimit_s: float | None = None
        self.event_fds: list[int] = []
        self.limit_check: LimitCheck | None = None
        self.check_timer: Timer = []
        self.event_poll_timer: Timer = []
        self.timers: list[Timer] = []
        self.wall_timer: Timer = []

    def prepare(self) -> Program:
        """Create what the program needs; runs in the spawn pool. Raises CannotStart, OSError."""
        raise NotImplementedError

    def release_resources(self) -> None:
        """Close what only the spawn needed, whether it succeeded or not; runs in the spawn pool.

        Must not raise.
        """

    def close_fd(self, fd: int) -> None:
        """Close the read end of an output pipe."""
        os.close(fd)

    @property
    def written_bytes(self) -> int:
        """Output so far, on all pipes that the supervisor reads."""
        return sum(stream.sink.written_bytes for stream in self.streams)

    @property
    def may_outlive_supervisor(self) -> bool:
        return self.leave_daemons

    @property
    def unenforced_sentences(self) -> list[str]:
        return [
            f"the limit {name} cannot be enforced here: {why}"
            for name, why in self.unenforced.items()
        ]

    @property
    def has_processes(self) -> bool:
        """Whether the leader runs, or is a zombie while its descendants are cleaned up."""
        return self.has_spawned and self.exit_status is None

    def cancel_timers(self) -> None:
        for timer in self.timers:
            timer.clear()
        self.timers.clear()
        self.wall_timer.clear()
        self.check_timer.clear()
        self.event_poll_timer.clear()

    def outcome(self) -> Outcome:
        """Return the outcome; the reason of a stop takes precedence over the exit status."""
        if self.not_started:
            return self.not_started
        if self.stop_reason:
            return self.stop_reason
        if self.lost:
            return self.lost
        status = self.exit_status
        assert status is not None
        if not os.WIFSIGNALED(status):
            return Exited(os.WEXITSTATUS(status))
        number = os.WTERMSIG(status)
        if number == SIGXCPU and self.limits.cpu_s is not None:
            # RLIMIT_CPU took effect before the supervisor's own check (rlimits.py).
            return Breached("cpu")
        return Signalled(number, os.WCOREDUMP(status))


C_contra = TypeVar("C_contra", bound=Child, contravariant=True)


class ChildEvents(Protocol[C_contra]):
    """Notifications of a supervisor, sent in its event loop's thread."""

    def spawned(self, child: C_contra) -> None:
        """The process exists."""

    def outlived_start(self, child: C_contra) -> None:
        """The supervisor begins to watch the child's pipes: it did not end at once."""

    def thawed_for_stop(self, child: C_contra) -> None:
        """The child was frozen and has been thawed because it is being stopped."""

    def ended(self, child: C_contra) -> None:
        """The whole tree has ended and the leader is reaped, or the child was never started."""
