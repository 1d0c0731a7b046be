"""What a back end of containment can do, and what the exec stub is asked: the types only."""

from __future__ import annotations

from typing import Final, NamedTuple, Protocol

from mythjobs.model.limits import Limits, Usage

# How often `sample` wants to be called where a limit has to be looked at by us.
SAMPLE_MS: Final = 100


class Containment(Protocol):
    """One process tree. Nothing here blocks or raises: what is gone is gone.

    `sure` says that no descendant can leave it (a cgroup). Without, a process that clears
    its environment, forks twice and starts a session of its own can be missed.
    `events_fd` is readable (EPOLLIN) once something has changed: call `changed`, then look at
    `empty` and `breach`. It is -1 if nothing here can tell. Unregister it before `close`.
    """

    @property
    def sure(self) -> bool: ...

    @property
    def events_fd(self) -> int: ...

    def joins(self) -> list[str]:
        """The files that the stub writes "0" into before exec; none: no stub is needed."""
        ...

    def environment(self) -> dict[str, str]:
        """What the child's environment must get besides: a mark, where nothing else holds it."""
        ...

    def began(self, pid: int) -> None:
        """The leader was started, in a session of its own. Before it is reaped, call `reaped`."""
        ...

    def reaped(self) -> None:
        """The leader's number is about to be free for strangers."""
        ...

    def pids(self) -> list[int]:
        """Every living process of the tree."""
        ...

    def signal(self, number: int) -> int:
        """To every process of the tree once; how many got it."""
        ...

    def kill(self) -> None:
        """KILL to all, frozen ones too. Without a cgroup call it again until `empty`."""
        ...

    def freeze(self) -> None: ...

    def thaw(self) -> None: ...

    def empty(self) -> bool:
        """No living process is left; zombies do not count."""
        ...

    def changed(self) -> None:
        """Take note of what made `events_fd` readable."""
        ...

    def usage(self) -> Usage:
        """What the tree has used so far, `wall_s` apart; see contain/usage.py."""
        ...

    def set_limits(self, limits: Limits) -> list[str]:
        """Put memory and processes in force, also while it runs. A sentence for each limit
        that cannot be enforced here, or by sampling only, and why."""
        ...

    @property
    def sample_ms(self) -> int:
        """Call `sample` this often while it runs; 0: never."""
        ...

    def sample(self) -> None:
        """Look at what no kernel watches for us; one that is over its limit is frozen."""
        ...

    def breach(self) -> str:
        """The limit that was broken: "memory", "processes" or ""."""
        ...

    def release(self) -> int:
        """Let what is left live on outside (`leave_daemons`); how many processes."""
        ...

    def close(self) -> None:
        """Give it back. What is still inside is killed first."""
        ...


class Containments(Protocol):
    """What makes them, chosen at start by `choose.best_here()`. From any thread."""

    @property
    def sure(self) -> bool: ...

    @property
    def name(self) -> str:
        """What a journal needs to end all of it later (`choose.end_leftover`); may be ""."""
        ...

    @property
    def about(self) -> str:
        """For people: which back end, and what it cannot do here and why."""
        ...

    def refused(self, limits: Limits) -> list[str]:
        """What `set_limits` would answer, before anything is started."""
        ...

    def take(self, token: str) -> Containment:
        """An empty one; `token` is unique on this machine. Raises OSError."""
        ...

    def close(self) -> None:
        """At exit. What is not empty stays, to be found by `name`."""
        ...


class Identity(NamedTuple):
    """Whom a program runs as, as numbers."""

    uid: int
    gid: int
    groups: tuple[int, ...]


class Asked(NamedTuple):
    """What the stub does between the spawn and the exec, in this order."""

    joins: tuple[str, ...] = ()
    # (resource, soft, hard) of setrlimit(2), RLIM_INFINITY as -1.
    rlimits: tuple[tuple[int, int, int], ...] = ()
    # Added to ours (nice(2)).
    nice: int = 0
    # "idle", or "best-effort:0" to "best-effort:7"; "" leaves it.
    io: str = ""
    umask: int = -1
    identity: Identity | None = None

    @property
    def nothing(self) -> bool:
        """No stub is needed."""
        return self == _NOTHING


_NOTHING: Final = Asked()


class StubFailed(NamedTuple):
    """Why the stub did not come to the program's first instruction. `place` is "join",
    "rlimit", "nice", "io", "user" or "exec" (then it is the kernel's answer to exec)."""

    place: str
    errno: int
