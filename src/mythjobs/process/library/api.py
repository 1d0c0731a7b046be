"""MythSystem: one class that starts, feeds, drains, limits, measures and ends programs."""

from __future__ import annotations

import itertools
import os
import pwd
from collections.abc import Mapping, Sequence
from typing import IO, Final, Literal

from mythjobs.model.limits import Limits
from mythjobs.process.library.buffer import KEEP
from mythjobs.process.library.child import File, Held, To, Wanted
from mythjobs.process.library.handle import Done, Process, check_limits
from mythjobs.process.library.thread import background
from mythjobs.process.spawn.stub import PLAIN, User, Wishes, io_class
from mythjobs.process.supervise.descendants import MARK

INHERIT: Final = To.INHERIT
NULL: Final = To.NULL
PIPE: Final = To.PIPE
BUFFERED: Final = To.BUFFERED
MERGED: Final = To.MERGED
# For `keep`: the whole output, however long it gets.
ALL: Final = (0, None)

Text = str | bytes
Path = str | bytes | os.PathLike[str] | os.PathLike[bytes]
_numbers: Final = itertools.count(1)
_NO_LIMITS: Final = Limits()


class MythSystem:
    """A program and how it is to be run. Nothing happens before `start` or `run`, which may be
    called any number of times, from any thread.

    argv: the program, found in the PATH of its environment, and its arguments; text or bytes.
    stdin: None (empty), bytes, a path, a file or descriptor, PIPE (`process.stdin.write`) or
        INHERIT.
    stdout, stderr: BUFFERED (`process.stdout.read()`), PIPE (`for chunk in process.stdout`), a
        path to append to, a file or descriptor, NULL or INHERIT; stderr also MERGED.
    keep: how many bytes of the beginning and of the end of a buffered stream are kept, or ALL.
    env: the whole environment; None is ours, to which one variable is added that marks the
        processes of this tree (MYTHSYSTEM_TREE).
    nice, io, umask, user, rlimits: in force before its first instruction; `io` is "idle" or
        "best-effort:0" to "best-effort:7", `user` a name, becoming whom is for good, `rlimits`
        are by number (resource.RLIMIT_…), (soft, hard).
    contain: hold its tree in a container where there is one; limits of trees ask for it anyway.
    best_effort: start it although a limit cannot be enforced here; `unenforced` says which.
    session: False leaves it in our session and process group (a terminal's program).
    leave_daemons: what it leaves behind lives on; else nothing does.
    at_exit: what becomes of it when our program ends: "end" or "leave".

    Raises ValueError for what no program can be given. All else that goes wrong with a program
    is its outcome.
    """

    def __init__(
        self,
        argv: Sequence[Text],
        *,
        stdin: To | bytes | Path | IO[bytes] | int | None = None,
        stdout: To | Path | IO[bytes] | int = BUFFERED,
        stderr: To | Path | IO[bytes] | int = BUFFERED,
        keep: tuple[int, int | None] = KEEP,
        cwd: Path | None = None,
        env: Mapping[str, str] | Mapping[bytes, bytes] | None = None,
        limits: Limits = _NO_LIMITS,
        nice: int = 0,
        io: str = "",
        umask: int | None = None,
        user: str | None = None,
        rlimits: Mapping[int, tuple[int, int]] | None = None,
        contain: bool = False,
        best_effort: bool = False,
        session: bool = True,
        leave_daemons: bool = False,
        at_exit: Literal["end", "leave"] = "end",
    ) -> None:
        if isinstance(argv, str | bytes):
            raise ValueError("argv is a list of arguments; for shell text use MythSystem.shell")
        self._argv = [_encoded(each) for each in argv]
        if not self._argv or not self._argv[0]:
            raise ValueError("argv is empty, or its first element is")
        self._env = None if env is None else _pairs(env)
        self._cwd = None if cwd is None else _encoded(os.fspath(cwd))
        self._stdin = stdin if isinstance(stdin, bytes) else _place(stdin, inward=True)
        self._stdout = _place(stdout)
        self._stderr = _place(stderr)
        if self._stdout is MERGED:
            raise ValueError("stdout cannot be MERGED; stderr can")
        check_limits(limits)
        if at_exit not in ("end", "leave"):
            raise ValueError(f'at_exit is "end" or "leave", not {at_exit!r}')
        if min(keep[0], keep[1] or 0) < 0:
            raise ValueError(f"keep is below zero: {keep!r}")
        self._keep = (2**63, None) if keep[1] is None else keep
        self._wishes = _wishes(nice, io, umask, user, rlimits)
        self._contain = contain
        self._best_effort = best_effort
        self._limits = limits
        self._session = session
        self._leave_daemons = leave_daemons
        self._at_exit = at_exit

    @classmethod
    def shell(cls, text: str, *args: Text, **more: object) -> MythSystem:
        """Bourne shell: constant text, in which the arguments are "$1", "$2", …: data, never
        part of the text. The rest is as for MythSystem itself."""
        return cls(["/bin/sh", "-c", text, "sh", *args], **more)  # type: ignore[arg-type]

    @staticmethod
    def adopt_orphans() -> None:
        """Make this process the new parent of orphans below it (PR_SET_CHILD_SUBREAPER), so
        that descendants which daemonize stay ours to reap. For the whole process, for good."""
        background().adopt_orphans()

    def start(self) -> Process:
        """Returns at once; whether it could be started is seen at `pid`, or as its outcome."""
        keeper = background()
        child = Held(self._wanted())
        return Process(child, keeper.start(child), keeper)

    def run(self) -> Done:
        """Start it, wait for its end, and say what became of it."""
        if PIPE in (self._stdin, self._stdout, self._stderr):
            raise ValueError("a PIPE is for start(): nobody would be at its other end")
        keeper = background()
        child = Held(self._wanted())
        try:
            return Process(child, keeper.start(child), keeper).done()
        except BaseException:
            # Ctrl-C, most likely: it was ours to wait for, and has no other owner. It may have
            # come while the program was only just being started.
            keeper.stop(child, "user", None)
            raise

    def _wanted(self) -> Wanted:
        env, mark = self._env, ""
        if env is None:
            mark = f"{os.getpid()}.{next(_numbers)}"
            env = _our_environment(mark)
        path = next((each[5:] for each in env if each.startswith(b"PATH=")), None)
        search = os.defpath if path is None else path.decode("utf-8", "surrogateescape")
        cwd = b"." if self._cwd is None else self._cwd
        return Wanted(
            self._argv, env, search, cwd, self._stdin, self._stdout, self._stderr, self._keep,
            self._session, mark, self._limits, self._leave_daemons, self._at_exit, self._wishes,
            self._contain, self._best_effort,
        )  # fmt: skip


def _encoded(text: Text) -> bytes:
    """As the kernel takes it. Raises ValueError (UnicodeEncodeError is one) and TypeError."""
    data = os.fsencode(text)
    if b"\0" in data:
        raise ValueError(f"a NUL byte cannot be passed to a program: {text!r}")
    return data


def _pairs(env: Mapping[str, str] | Mapping[bytes, bytes]) -> list[bytes]:
    pairs = []
    for name, value in env.items():
        key = _encoded(name)
        if not key or b"=" in key:
            raise ValueError(f'the name of a variable is empty or has a "=": {name!r}')
        pairs.append(key + b"=" + _encoded(value))
    return pairs


def _our_environment(mark: str) -> list[bytes]:
    """As it is now, and the mark behind those of the trees that we are in ourselves."""
    environment = dict(os.environb)
    name = MARK.encode()
    above = environment.get(name, b"")
    environment[name] = b"%s %s" % (above, mark.encode()) if above else mark.encode()
    return [key + b"=" + value for key, value in environment.items()]


def _place(given: To | Path | IO[bytes] | int | None, inward: bool = False) -> To | File:
    if isinstance(given, To):
        if inward and given in (BUFFERED, MERGED):
            raise ValueError(f"stdin cannot be {given.name}")
        return given
    if given is None:
        return NULL
    if isinstance(given, int):
        if given < 0:
            raise ValueError(f"not a descriptor: {given}")
        return given
    if isinstance(given, str | bytes | os.PathLike):
        return os.fsdecode(_encoded(os.fspath(given)))
    return given.fileno()


def _wishes(
    nice: int,
    io: str,
    umask: int | None,
    user: str | None,
    rlimits: Mapping[int, tuple[int, int]] | None,
) -> Wishes:
    """Raises ValueError for what no machine could do."""
    if not (nice or io or umask is not None or user or rlimits):
        return PLAIN
    if io:
        io_class(io)
    if umask is not None and not 0 <= umask <= 0o777:
        raise ValueError(f"not a umask: {umask!r}")
    return Wishes(
        rlimits=dict(rlimits or {}),
        nice=nice,
        io=io,
        umask=-1 if umask is None else umask,
        user=None if user is None else _user(user),
    )


def _user(name: str) -> User:
    """With all the groups that a login would have. Raises ValueError."""
    try:
        found = pwd.getpwnam(name)
    except KeyError:
        raise ValueError(f"this machine knows no user {name!r}") from None
    groups = os.getgrouplist(name, found.pw_gid)
    return User(found.pw_uid, found.pw_gid, tuple(groups))
