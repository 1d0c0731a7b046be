"""One child as its keeper holds it: what was asked for, and what became of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Protocol, TypeVar

from mythjobs.clock import Now
from mythjobs.model.limits import Limits, Usage
from mythjobs.model.outcome import Breached, Exited, NotStarted, Outcome, Signalled
from mythjobs.process.cgroup import Containment
from mythjobs.process.procfs import Process
from mythjobs.process.spawn.vfork import Program
from mythjobs.process.supervise.limit_check import Watchman
from mythjobs.process.supervise.streams import Stream

_SIGXCPU = 24

Timer = list[Callable[[], None]]


class Child:
    """The fields above the line are what was asked for, those below what became of it.

    They are the keeper's (keeper.py) and change in its loop's thread only, but for those
    that a spawner fills in before it hands the child over.
    """

    __slots__ = (
        "best_effort", "contain", "leave_daemons", "limits", "mark", "session", "watch",
        # Below: filled in by the spawner, then by the keeper.
        "after_ms", "ask_timer", "backstop_s", "born", "clearing", "ending", "ends", "exit_status",
        "exited", "family", "frozen_ms", "frozen_since_ms", "grace_over", "grace_s", "heard_fds",
        "holders", "kill_at_ms", "killing", "known", "lasting", "look_timer", "not_started", "open",
        "peak_bytes", "pid", "pidfd", "seen", "streams", "term_ms", "timers", "tree",
        "unenforced", "usage", "wall_timer", "watchman",
    )  # fmt: skip

    def __init__(self, limits: Limits, leave_daemons: bool = False) -> None:
        self.limits = limits
        self.leave_daemons = leave_daemons
        # Whether it is held in a container where there is one (its limits may ask for it too),
        # and starts although a limit of it cannot be enforced.
        self.contain = self.best_effort = False
        # A word in its environment that is in no other child's, or none; and whether it leads
        # a session of its own.
        self.mark = ""
        self.session = True
        # Whoever hears of it wants to know when it has written something.
        self.watch = False
        self.pid = self.pidfd = -1
        # The keeper's loop has seen it start, and has said so.
        self.known = False
        self.after_ms = 0
        self.born: Now | None = None
        self.not_started: NotStarted | None = None
        self.streams: list[Stream] = []
        # The child's ends of its pipes, until it has been spawned.
        self.ends: list[int] = []
        self.open: list[Stream] = []
        # It has lived longer than a moment: its pipes are watched.
        self.lasting = False
        # Why we are ending it, once we are; and whether its time to end by itself is over.
        self.ending: Outcome | None = None
        self.grace_s = limits.grace_s
        # On CLOCK_MONOTONIC: when TERM was sent, and when KILL will be.
        self.term_ms = self.kill_at_ms = 0
        self.grace_over = self.killing = self.clearing = False
        # Its leader is dead, and still there to be reaped; then reaped, with this status.
        self.exited = False
        self.exit_status: int | None = None
        self.usage = Usage()
        # The largest resident set that was seen of its leader while it ran.
        self.peak_bytes = 0
        # What its tree had used when we began to end it.
        self.seen: Usage | None = None
        # Descendants that were seen when it was signalled: one that leaves its session later
        # is known by that.
        self.family: dict[int, Process] = {}
        # Who wants it frozen, since when it is, and how long it has been in all.
        self.holders: set[str] = set()
        self.frozen_since_ms: int | None = None
        self.frozen_ms = 0
        # What holds its tree, if anything does; which limits nothing enforces, and why not.
        self.tree: Containment | None = None
        self.unenforced: dict[str, str] = {}
        # The limit of CPU time that each process of it has from the kernel (rlimits.py).
        self.backstop_s: float | None = None
        self.heard_fds: list[int] = []
        self.watchman: Watchman | None = None
        self.look_timer: Timer = []
        self.ask_timer: Timer = []
        self.timers: list[Timer] = []
        self.wall_timer: Timer = []

    def prepare(self) -> Program:
        """In a spawner's thread: make what else it needs. Raises CannotStart and OSError."""
        raise NotImplementedError

    def prepared(self) -> None:
        """In a spawner's thread: it has been spawned, or could not be. Must not raise."""

    @property
    def written(self) -> int:
        """Bytes of output so far, on all its pipes that we drain."""
        return sum(stream.sink.written for stream in self.streams)

    @property
    def outlives(self) -> bool:
        """Whether something of it may be there when its keeper is not."""
        return self.leave_daemons

    @property
    def shortcomings(self) -> list[str]:
        """A sentence for each limit that nothing enforces."""
        return [
            f"the limit {name} cannot be enforced here: {why}"
            for name, why in self.unenforced.items()
        ]

    @property
    def running(self) -> bool:
        return self.known and not self.exited

    def call_off(self) -> None:
        for timer in self.timers:
            timer.clear()
        self.timers.clear()
        self.wall_timer.clear()
        self.look_timer.clear()
        self.ask_timer.clear()

    def outcome(self) -> Outcome:
        """What happened. That we ended it goes before how it took that."""
        if self.not_started:
            return self.not_started
        if self.ending:
            return self.ending
        status = self.exit_status
        assert status is not None
        if not os.WIFSIGNALED(status):
            return Exited(os.WEXITSTATUS(status))
        number = os.WTERMSIG(status)
        if number == _SIGXCPU and self.limits.cpu_s is not None:
            # The kernel's own limit, which stands behind ours, was quicker (keeper.py).
            return Breached("cpu")
        return Signalled(number, os.WCOREDUMP(status))


C_contra = TypeVar("C_contra", bound=Child, contravariant=True)


class Owner(Protocol[C_contra]):
    """What a keeper tells, in its loop's thread."""

    def spawned(self, child: C_contra) -> None:
        """There is a process."""

    def lasting(self, child: C_contra) -> None:
        """It has lived longer than a moment."""

    def let_go(self, child: C_contra) -> None:
        """It was held frozen, and no longer is, as it is being ended."""

    def over(self, child: C_contra) -> None:
        """It has ended and nothing of it is left, or it never came to be."""
