"""State of one supervised child, and the events that a supervisor reports about children."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from signal import SIGXCPU
from typing import Final, Protocol, TypeVar

from mythjobs.clock import Now
from mythjobs.model.limits import Limits, Usage
from mythjobs.model.outcome import Breached, Exited, Lost, NotStarted, Outcome, Signalled
from mythjobs.process.cgroup import ChildCgroup
from mythjobs.process.procfs import ProcessInfo
from mythjobs.process.spawn.native_request import StartRequest
from mythjobs.process.spawn.program import Program
from mythjobs.process.supervise.limit_check import LimitCheck
from mythjobs.process.supervise.streams import Stream

Timer = list[Callable[[], None]]
_NO_USAGE: Final = Usage()


class Child:
    """Settings and state of a child: base class of the library's and the reaper's children.

    Only the event loop's thread changes the state, after a thread of the spawn pool has filled in
    the fields for the spawn and has handed the child over.
    """

    __slots__ = (
        "best_effort", "contain", "is_session_leader", "leave_daemons", "limits", "mark",
        # The attributes below are filled in by the spawn pool, then by the supervisor.
        "cgroup", "check_timer", "child_fds", "cpu_rlimit_s", "event_fds", "event_poll_timer",
        "exit_status", "freeze_holders", "frozen_at_stop", "frozen_ms", "frozen_since_ms",
        "grace_s", "has_exited",
        "has_grace_ended", "has_spawned", "is_draining", "is_kill_timed", "is_marked_late",
        "kill_at_ms", "left", "limit_check", "lost", "native_pipe_count", "not_started",
        "open_streams", "peak_bytes", "pid", "pidfd", "rlimit_mark", "seen_members", "spawn_ms",
        "spawned_at", "start_request", "stop_reason", "streams", "term_ms", "timers",
        "unenforced", "usage", "usage_at_stop", "wall_timer",
    )  # fmt: skip

    def __init__(self, limits: Limits, leave_daemons: bool = False) -> None:
        self.limits = limits
        self.leave_daemons = leave_daemons
        # contain: use a cgroup if possible, even if no limit needs one.
        # best_effort: start the child even if a limit cannot be enforced.
        self.contain = self.best_effort = False
        # Unique word in the environment variable MYTHSYSTEM_TREE of the child's process tree, by
        # which its processes are found; "" if there is none.
        self.mark = ""
        # Unique value of a resource limit of the process tree, by which its processes are found
        # (tree_mark.py); 0 if there is none.
        self.rlimit_mark = 0
        # True if that limit was set after exec, so processes of the tree may lack it.
        self.is_marked_late = False
        self.is_session_leader = True
        self.pid = self.pidfd = -1
        # True once the supervisor has registered the process and reported its start.
        self.has_spawned = False
        # Time on CLOCK_BOOTTIME just before the spawn.
        self.spawn_ms = 0
        self.spawned_at: Now | None = None
        # The start that has been submitted to the spawner in C, until its result is known.
        self.start_request: StartRequest | None = None
        self.not_started: NotStarted | None = None
        self.streams: list[Stream] = []
        # The child's ends of its pipes, which this process closes after the spawn.
        self.child_fds: list[int] = []
        # How many output pipes the spawner in C creates; 0 if `prepare` creates them.
        self.native_pipe_count = 0
        self.open_streams: list[Stream] = []
        # True while the event loop watches the pipes for output.
        self.is_draining = False
        # The outcome of a child that is being stopped; set when the stop begins.
        self.stop_reason: Outcome | None = None
        self.grace_s = limits.grace_s
        # Times on CLOCK_MONOTONIC at which SIGTERM was sent and SIGKILL is to be sent; 0 without a
        # stop.
        self.term_ms = self.kill_at_ms = 0
        # has_grace_ended: the grace period is over. is_kill_timed: descendants that survived the
        # leader were killed, and a timer limits the wait for their exit.
        self.has_grace_ended = self.is_kill_timed = False
        # has_exited: the leader has exited. exit_status: set once the leader is reaped. lost: True
        # if the host program has reaped the leader (reaping.py).
        self.has_exited = False
        self.exit_status: int | None = None
        self.lost: Lost | None = None
        self.usage = _NO_USAGE
        # Largest resident set size of the leader that was observed while it ran.
        self.peak_bytes = 0
        # Usage of the process tree, sampled just before the supervisor sent it a signal.
        self.usage_at_stop: Usage | None = None
        # Processes of the tree that earlier searches found, by pid: so a process is still known
        # after it has left the session.
        self.seen_members: dict[int, ProcessInfo] = {}
        self.freeze_holders: set[str] = set()
        # Holders of the freeze that the stop of the child ended.
        self.frozen_at_stop: frozenset[str] = frozenset()
        self.frozen_since_ms: int | None = None
        # Pid and name of each process left running: daemons, and processes that cannot be killed.
        self.left: list[tuple[int, str]] = []
        # Total duration of all freezes that have ended.
        self.frozen_ms = 0
        self.cgroup: ChildCgroup | None = None
        # Limits of this child that cannot be enforced, each with the reason.
        self.unenforced: dict[str, str] = {}
        # CPU limit from which RLIMIT_CPU of each process in the tree was last set (rlimits.py).
        self.cpu_rlimit_s: float | None = None
        self.event_fds: list[int] = []
        self.limit_check: LimitCheck | None = None
        self.check_timer: Timer = []
        self.event_poll_timer: Timer = []
        self.timers: list[Timer] = []
        self.wall_timer: Timer = []

    def prepare(self) -> Program:
        """Create the resources that the program needs and return its description. Runs in a thread
        of the spawn pool. Raises CannotStart, OSError."""
        raise NotImplementedError

    def add_pipes(self, fds: Sequence[int]) -> None:
        """Append to `streams` the output pipes that the spawner in C has created, by read end; -1
        for one that was read to its end. Runs in the event loop's thread."""
        raise NotImplementedError

    def release_resources(self) -> None:
        """Close the resources that were needed until the program was spawned or the spawn failed.

        Runs in a thread of the spawn pool. Must not raise.
        """

    def close_fd(self, fd: int) -> None:
        """Close the read end of an output pipe."""
        os.close(fd)

    @property
    def written_bytes(self) -> int:
        """Number of bytes that the child has written so far to pipes that the supervisor reads."""
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
        """True while the leader runs, or is kept as a zombie during the cleanup of descendants."""
        return self.has_spawned and self.exit_status is None

    def cancel_timers(self) -> None:
        for timer in self.timers:
            timer.clear()
        self.timers.clear()
        self.wall_timer.clear()
        self.check_timer.clear()
        self.event_poll_timer.clear()

    def outcome(self) -> Outcome:
        """Return the outcome of an ended child. The reason of a stop takes precedence over the exit
        status."""
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
            # The kernel enforced RLIMIT_CPU before the supervisor's own check (rlimits.py).
            return Breached("cpu")
        return Signalled(number, os.WCOREDUMP(status))


C_contra = TypeVar("C_contra", bound=Child, contravariant=True)


class ChildEvents(Protocol[C_contra]):
    """Events of children that a supervisor reports to its owner, in its event loop's thread."""

    def spawned(self, child: C_contra) -> None:
        """The child's process has been created, and exec has succeeded."""

    def outlived_start(self, child: C_contra) -> None:
        """The child has not ended within the first milliseconds, so the supervisor begins to watch
        its pipes."""

    def thawed_for_stop(self, child: C_contra) -> None:
        """The child was frozen, and has been thawed because it is being stopped."""

    def ended(self, child: C_contra) -> None:
        """The child has ended: the leader is reaped, its tree is gone. Or it was never started."""
