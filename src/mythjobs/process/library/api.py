"""MythSystem: the specification of a program to run, and its start."""

from __future__ import annotations

import itertools
import os
import pwd
from collections.abc import Iterable, Mapping, Sequence
from typing import IO, Final, Literal

from mythjobs.model.limits import Limits
from mythjobs.process.library.buffer import DEFAULT_KEEP, Buffer
from mythjobs.process.library.child import LibraryChild
from mythjobs.process.library.done import Done
from mythjobs.process.library.handle import Process
from mythjobs.process.library.limit_values import check_limits
from mythjobs.process.library.pipes import Reader, Writer
from mythjobs.process.library.spec import ChildSpec, File, Stdio
from mythjobs.process.library.thread import start_child, stop_child, supervisor_thread
from mythjobs.process.spawn.program import NO_SETUP, ChildSetup, User, parse_io_class
from mythjobs.process.supervise.guest_descendants import TREE_VARIABLE

INHERIT: Final = Stdio.INHERIT
NULL: Final = Stdio.NULL
PIPE: Final = Stdio.PIPE
BUFFERED: Final = Stdio.BUFFERED
MERGED: Final = Stdio.MERGED
# Value of `keep` that keeps the whole output.
ALL: Final = (0, None)

Text = str | bytes
Path = str | bytes | os.PathLike[str] | os.PathLike[bytes]
# `Process.stdout` is a Reader only if it is a PIPE; a Buffer is refused.
Input = Stdio | bytes | bytearray | memoryview | Path | IO[bytes] | Reader | Buffer | int | None
Target = Stdio | Path | IO[bytes] | Writer | int
Variables = Mapping[str, str] | Mapping[bytes, bytes]
_numbers: Final = itertools.count(1)
_NO_LIMITS: Final = Limits()


class MythSystem:
    """A program and how to run it. `start` and `run` may be called repeatedly, from any thread.

    argv: the program, searched in the PATH of its environment, and its arguments; text or bytes.
    executable: the file to execute in place of argv[0]; argv is still passed to the program.
    stdin: None (empty), bytes (through a pipe), a path, a file or descriptor, PIPE
        (`process.stdin.write`), the PIPE of another program's output, or INHERIT.
    stdout, stderr: BUFFERED (`process.stdout.read()`), PIPE (`for chunk in process.stdout`), a
        path to append to, a file or descriptor, the PIPE of another program's stdin, NULL or
        INHERIT; stderr also MERGED.
    keep: bytes of the head and of the tail of a BUFFERED stream to keep, or ALL.
    env: the whole environment; None inherits this process's own and adds MYTHSYSTEM_TREE, which
        marks the processes of this tree.
    env_add: variables to add to the environment or to replace in it.
    pass_fds: descriptors that stay open in the program, under the same numbers. With them, start()
        returns only after exec; the caller may close them then.
    nice, io, umask, user, rlimits: take effect before the program's first instruction. `io` is
        "idle" or "best-effort:0" to "best-effort:7", `user` a name, `rlimits` maps a number
        (resource.RLIMIT_…) to (soft, hard).
    contain: run the process tree in a cgroup if possible; limits on the tree imply this.
    best_effort: start even if a limit cannot be enforced here; `unenforced` lists these limits.
    session: False keeps the program in this process's session and process group, as a program on a
        terminal needs.
    leave_daemons: do not end processes that outlive the program.
    at_exit: "end" or "leave" the program when this process exits.

    Raises ValueError for arguments that are invalid for any program. Every other failure is
    reported as the program's outcome.
    """

    def __init__(
        self,
        argv: Sequence[Text],
        *,
        executable: Path | None = None,
        stdin: Input = None,
        stdout: Target = BUFFERED,
        stderr: Target = BUFFERED,
        keep: tuple[int, int | None] = DEFAULT_KEEP,
        cwd: Path | None = None,
        env: Variables | None = None,
        env_add: Variables | None = None,
        pass_fds: Iterable[int] = (),
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
        if isinstance(argv, str | bytes) or not isinstance(argv, Iterable):
            raise ValueError("argv must be a list; for shell text use MythSystem.shell")
        self._argv = [_encode(each) for each in argv]
        self._executable = b"" if executable is None else _encode(executable)
        if not self._argv or not (self._argv[0] or self._executable):
            raise ValueError("argv[0], the program to run, is missing or empty")
        self._env = None if env is None else _encode_environment(env)
        self._env_add = _encode_environment(env_add or {})
        if not isinstance(pass_fds, Iterable):
            raise ValueError(f"pass_fds must be a list of descriptors: {pass_fds!r}")
        self._pass_fds = tuple(sorted({_check_descriptor(each) for each in pass_fds}))
        self._cwd = None if cwd is None else _encode_path(cwd)
        self._stdin = _check_input(stdin)
        self._stdout = _check_stream(stdout)
        self._stderr = _check_stream(stderr)
        if self._stdout is MERGED:
            raise ValueError("stdout cannot be MERGED; only stderr can")
        check_limits(limits)
        if at_exit not in ("end", "leave"):
            raise ValueError(f'at_exit must be "end" or "leave", not {at_exit!r}')
        self._keep = _check_keep(keep)
        self._setup = _make_setup(nice, io, umask, user, rlimits)
        self._contain = contain
        self._best_effort = best_effort
        self._limits = limits
        self._session = session
        self._leave_daemons = leave_daemons
        self._at_exit = at_exit

    @classmethod
    def shell(cls, text: str, *args: Text, **more: object) -> MythSystem:
        """Return a MythSystem that runs `text` with /bin/sh. `text` must be constant; pass data as
        `args`, which the shell sees as "$1", "$2", … and does not parse. `more` are keyword
        arguments of MythSystem."""
        return cls(["/bin/sh", "-c", text, "sh", *args], **more)  # type: ignore[arg-type]

    @staticmethod
    def adopt_orphans() -> None:
        """Make this process the parent of descendants whose parent dies (PR_SET_CHILD_SUBREAPER),
        and reap them. This applies to the whole process and cannot be undone."""
        supervisor_thread().adopt_orphans()

    def start(self) -> Process:
        """Start the program and return without waiting for exec. If the start fails, `pid` of the
        returned Process is None and its outcome says why."""
        child = LibraryChild(self._make_spec())
        return Process(child, *start_child(child))

    def run(self) -> Done:
        """Start the program and wait for its end."""
        if PIPE in (self._stdin, self._stdout, self._stderr):
            raise ValueError("run() cannot serve a PIPE; use start(), or BUFFERED")
        child = LibraryChild(self._make_spec())
        try:
            return Process(child, *start_child(child)).done()
        except BaseException:
            # Stop the program: after this exception, usually KeyboardInterrupt and perhaps during
            # the start, the caller has no handle with which to stop it.
            stop_child(child)
            raise

    def _make_spec(self) -> ChildSpec:
        variables, mark = self._env, ""
        if variables is None:
            mark = f"{os.getpid()}.{next(_numbers)}"
            variables = _marked_environment(mark)
        if self._env_add:
            variables = variables | self._env_add
        search = variables.get(b"PATH", os.defpath.encode()).decode("utf-8", "surrogateescape")
        env = [name + b"=" + value for name, value in variables.items()]
        return ChildSpec(
            self._argv, env, search, self._cwd, self._stdin, self._stdout, self._stderr,
            self._keep, self._session, mark, self._limits, self._leave_daemons, self._at_exit,
            self._setup, self._contain, self._best_effort, self._executable, self._pass_fds,
        )  # fmt: skip


def _encode(text: Path) -> bytes:
    """Return the text as bytes for the kernel. Raises ValueError if it cannot be encoded or
    contains a NUL byte."""
    try:
        data = os.fsencode(text)
    except TypeError:
        raise ValueError(f"must be text, bytes or a path: {text!r}") from None
    if b"\0" in data:
        raise ValueError(f"a NUL byte cannot be passed to a program: {text!r}")
    return data


def _encode_path(path: Path) -> bytes:
    """Return the path of a file or directory as bytes. Raises ValueError if it is empty, too."""
    data = _encode(path)
    if not data:
        raise ValueError("the path of a file or directory is empty")
    return data


def _encode_environment(env: Variables) -> dict[bytes, bytes]:
    if not isinstance(env, Mapping):
        raise ValueError(f"an environment must be a mapping: {env!r}")
    encoded = {}
    for name, value in env.items():
        key = _encode(name)
        if not key or b"=" in key:
            raise ValueError(f'an environment variable\'s name is empty or contains "=": {name!r}')
        encoded[key] = _encode(value)
    return encoded


def _marked_environment(mark: str) -> dict[bytes, bytes]:
    """Return this process's environment with `mark` in MYTHSYSTEM_TREE, after the marks of the
    process trees that this process belongs to itself."""
    environment = dict(os.environb)
    name = TREE_VARIABLE.encode()
    above = environment.get(name, b"")
    environment[name] = b"%s %s" % (above, mark.encode()) if above else mark.encode()
    return environment


def _check_input(given: Input) -> Stdio | bytes | File:
    if given is BUFFERED or given is MERGED:
        raise ValueError(f"stdin cannot be {given.name}")
    if isinstance(given, bytes | bytearray | memoryview):
        return bytes(given)
    return _check_stream(given)


def _check_stream(given: Path | Stdio | File | Buffer | None) -> Stdio | File:
    if isinstance(given, Stdio):
        return given
    if given is None:
        return NULL
    if isinstance(given, int):
        return _check_descriptor(given)
    if isinstance(given, str | bytes | os.PathLike):
        return os.fsdecode(_encode_path(given))
    if isinstance(given, Buffer):
        raise ValueError("output of another program must be a PIPE: start it with stdout=PIPE")
    try:
        # Raises ValueError if the file is closed.
        is_closed = given.fileno() < 0
    except AttributeError:
        raise ValueError(f"must be a path, a descriptor or an open file: {given!r}") from None
    if is_closed:
        raise ValueError("the pipe of another program is closed")
    # Return the file object rather than its descriptor: the object keeps the file open.
    return given


def _check_descriptor(fd: int) -> int:
    if not isinstance(fd, int) or not 0 <= fd < 2**31:
        raise ValueError(f"a file descriptor must be from 0 to {2**31 - 1}: {fd!r}")
    return fd


def _check_keep(keep: tuple[int, int | None]) -> tuple[int, int | None]:
    """Return the bytes of head and tail to keep; a head without end for ALL."""
    match keep:
        case (int(head), None) if head >= 0:
            return (2**63, None)
        case (int(head), int(tail)) if head >= 0 and tail >= 0:
            return (head, tail)
    raise ValueError(f"keep must be (bytes of the head, bytes of the tail), or ALL: {keep!r}")


def _make_setup(
    nice: int,
    io: str,
    umask: int | None,
    user: str | None,
    rlimits: Mapping[int, tuple[int, int]] | None,
) -> ChildSetup:
    """Return the settings that the child applies before exec. Raises ValueError for values that are
    invalid on every machine, and for an unknown user."""
    if not (isinstance(nice, int) and abs(nice) < 2**31):
        raise ValueError(f"nice must be an integer of the kernel's size: {nice!r}")
    if not (nice or io or umask is not None or user is not None or rlimits):
        return NO_SETUP
    if not isinstance(io, str):
        raise ValueError(f"io must be text: {io!r}")
    if io:
        parse_io_class(io)
    if umask is not None and not (isinstance(umask, int) and 0 <= umask <= 0o777):
        raise ValueError(f"umask must be an integer from 0 to 0o777: {umask!r}")
    return ChildSetup(
        rlimits=_check_rlimits({} if rlimits is None else rlimits),
        nice=nice,
        io=io,
        umask=-1 if umask is None else umask,
        user=None if user is None else _find_user(user),
    )


def _check_rlimits(rlimits: Mapping[int, tuple[int, int]]) -> dict[int, tuple[int, int]]:
    if not isinstance(rlimits, Mapping):
        raise ValueError(f"rlimits must map numbers to (soft, hard): {rlimits!r}")
    for number, pair in rlimits.items():
        match number, pair:
            case int(), (int(soft), int(hard)) if -1 <= min(soft, hard) <= max(soft, hard) < 2**64:
                continue
        raise ValueError(f"rlimits must map numbers to (soft, hard): {number!r}: {pair!r}")
    return dict(rlimits)


def _find_user(name: str) -> User:
    """Return the user with all groups that a login gives. Raises ValueError for an unknown user."""
    if not isinstance(name, str):
        raise ValueError(f"user must be a name: {name!r}")
    try:
        found = pwd.getpwnam(name)
    except KeyError:
        raise ValueError(f"user {name!r} does not exist on this machine") from None
    groups = os.getgrouplist(name, found.pw_gid)
    return User(found.pw_uid, found.pw_gid, tuple(groups))
