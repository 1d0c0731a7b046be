"""Structs of the link that say how and when an attempt runs: program, limits, run windows."""

from __future__ import annotations

from msgspec import Struct, field

from mythjobs.protocol.numbers import Count, Duration, Nice, Size, WallInstant


class RunSpec(Struct, frozen=True):
    """Program that an attempt executes, with its settings and limits.

    env: added to the base environment of the job's user, or the whole environment if `bare_env`.
    stdin: a path, relative to the working directory; "" for /dev/null. keep: bytes of output to
    keep, head and tail. Limits apply to the whole process tree; None is no limit. io: "idle",
    "best-effort:0" to "best-effort:7", or "" for the machine's default. contain: run in a cgroup of
    its own. best_effort: run even where a limit is only enforced by periodic checks. leave_daemons:
    do not kill processes that outlive the program. later: a regular expression that is searched for
    in the kept tail of the output if the attempt failed. has_priority: the command or the
    machine sets `nice` or `io`, so that the agent does not lower the job's priority. inputs: paths
    that must be readable before the start; otherwise the attempt is returned. paths: all arguments
    of type path, for a machine whose own policy accepts some directories only; else None.
    """

    argv: list[str]
    env: dict[str, str] = field(default_factory=dict)
    bare_env: bool = False
    cwd: str = ""
    stdin: str = ""
    scratch: bool = False
    separate_stderr: bool = False
    progress: str = ""
    wall_s: Duration | None = None
    grace_s: Duration = 10.0
    keep: tuple[Size, Size] = (4 * 2**20, 12 * 2**20)
    cpu_s: Duration | None = None
    idle_s: Duration | None = None
    memory_bytes: Size | None = None
    output_bytes: Size | None = None
    processes: Count | None = None
    nice: Nice = 0
    io: str = ""
    contain: bool = False
    best_effort: bool = False
    leave_daemons: bool = False
    later: str = ""
    has_priority: bool = False
    inputs: list[str] = field(default_factory=list)
    paths: list[str] | None = None


class HoursSpec(Struct, frozen=True):
    """Hours in which an attempt may run, and what the machine does when they close.

    sets: weekly ranges of the command, of the machine, and of the command on this machine, as
    written by their authors. All must be open; an empty set is always open. closing: finish,
    freeze, requeue or terminate. overrides: (`allow` or `pause`, wall instant in ms until
    which it applies).
    """

    sets: list[list[str]] = field(default_factory=list)
    zone: str = ""
    closing: str = "finish"
    grace_s: Duration = 10.0
    overrides: list[tuple[str, WallInstant]] = field(default_factory=list)
