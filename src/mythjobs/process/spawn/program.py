"""Description of one program to start: argv, environment, descriptors, and settings that the child
applies before exec."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from functools import lru_cache
from typing import Final, NamedTuple

from mythjobs.process.spawn.errors import CannotStart, escape_undecodable, setup_error

_IO_CLASSES: Final = {"realtime": 1, "best-effort": 2, "idle": 3}


class User(NamedTuple):
    """User and groups that the child changes to before exec; it cannot change back."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()


class ChildSetup(NamedTuple):
    """Settings that the child applies to itself before exec.

    cgroup_files: cgroup.procs files of the cgroups to join. rlimits: maps a number
    (resource.RLIMIT_…) to (soft, hard), -1 for unlimited. io: "idle", or "best-effort:0" to
    "best-effort:7". umask: -1 to inherit.
    """

    cgroup_files: tuple[str, ...] = ()
    rlimits: Mapping[int, tuple[int, int]] | None = None
    nice: int = 0
    io: str = ""
    umask: int = -1
    user: User | None = None


NO_SETUP: Final = ChildSetup()


class Program(NamedTuple):
    """One program to start.

    argv, env: passed to the child byte for byte; `env` elements are NAME=value.
    search: the PATH in its environment.
    cwd: its working directory; if empty, inherited. With `cwd_fd`, only a name for messages.
    stdin, stdout, stderr: descriptors of this process that become 0, 1 and 2 of the child; -1
        to inherit this process's own.
    session: start it as leader of a new session.
    pass_fds: further descriptors that stay open in the child.
    umask: -1 to inherit.
    cwd_fd: descriptor of its working directory, or -1.
    executable: the file to execute in place of argv[0], unless empty.
    """

    argv: list[bytes]
    env: list[bytes]
    search: str
    cwd: bytes
    stdin: int
    stdout: int
    stderr: int
    session: bool = True
    setup: ChildSetup = NO_SETUP
    pass_fds: tuple[int, ...] = ()
    umask: int = -1
    cwd_fd: int = -1
    executable: bytes = b""

    @property
    def directory(self) -> bytes | None:
        """Path for the child's chdir(2), or None to inherit this process's working directory."""
        if self.cwd_fd >= 0:
            return b"/proc/self/fd/%d" % self.cwd_fd
        return self.cwd or None

    @property
    def file(self) -> bytes:
        """Name of the file to execute."""
        return self.executable or self.argv[0]


def make_program(
    argv: list[str],
    env: dict[str, str],
    cwd: str,
    stdin: int,
    stdout: int,
    stderr: int,
    *,
    setup: ChildSetup = NO_SETUP,
    umask: int = -1,
) -> Program:
    """Return the program with text encoded for the kernel. Raises CannotStart for text that
    execve(2) cannot pass."""
    try:
        args = [each.encode("utf-8", "surrogateescape") for each in argv]
        pairs = [f"{k}={v}".encode("utf-8", "surrogateescape") for k, v in env.items()]
        directory = cwd.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        bad = error.object[error.start : error.end]
        raise CannotStart(0, f"arguments or environment: {bad!a} cannot be encoded") from None
    if not args or not args[0]:
        raise CannotStart(0, "argv[0], the program to run, is empty")
    if b"\0" in b"".join((*args, *pairs, directory)):
        raise CannotStart(0, "arguments or environment: a NUL byte cannot be passed to a program")
    if "" in env or "=" in "".join(env):
        raise CannotStart(0, 'environment: a variable\'s name is empty or contains "="')
    search = env.get("PATH", os.defpath)
    return Program(args, pairs, search, directory, stdin, stdout, stderr, setup=setup, umask=umask)


def parse_io_class(text: str) -> tuple[int, int]:
    """Return the I/O class and level as numbers for ioprio_set(2). Raises ValueError, whose text
    names the valid values."""
    name, _, level = text.partition(":")
    if name not in _IO_CLASSES or (level and not (level.isdecimal() and int(level) < 8)):
        raise ValueError(
            f'I/O class "{text}" must be idle, or best-effort:0 (highest priority) to best-effort:7'
        )
    return _IO_CLASSES[name], int(level or (0 if name == "idle" else 4))


@lru_cache(maxsize=64)
def _search_directories(search: str) -> tuple[bytes, ...]:
    # An empty element means the current directory (environ(7)). It needs no special case: join()
    # of "" and a name is the name.
    return tuple(each.encode("utf-8", "surrogateescape") for each in search.split(":"))


def candidate_paths(program: Program) -> tuple[bytes, ...]:
    """Return the paths to try with execve(2), in the order in which execvp(3) tries them."""
    name = program.file
    if b"/" in name:
        return (name,)
    return tuple(os.path.join(each, name) for each in _search_directories(program.search))


def directory_error(number: int, program: Program) -> CannotStart:
    """Return the error for `program`, whose chdir(2) failed with errno `number`."""
    directory = escape_undecodable(os.fsdecode(program.cwd))
    return setup_error(OSError(number, ""), f"working directory {directory}")


def exec_error(number: int, program: Program) -> CannotStart:
    """Return the error for `program`, whose execve(2) failed with errno `number`."""
    name = program.file.decode("utf-8", "backslashreplace")
    match number:
        case errno.ENOENT if _exists(program):
            why = f"{name}: the interpreter named in its #! line does not exist"
        case errno.ENOENT if "/" in name:
            why = f"{name}: no such file"
        case errno.ENOENT:
            why = f"{name}: not found in PATH ({escape_undecodable(program.search)})"
        case errno.EACCES:
            why = f"{name}: permission denied (not executable, or in a closed directory)"
        case errno.E2BIG:
            why = f"{name}: arguments and environment exceed the kernel's size limit"
        case errno.ENOEXEC:
            why = f"{name}: not an executable format (no #! line, and no format the kernel knows)"
        case _:
            why = f"{name}: {os.strerror(number)}"
    return CannotStart(number, why)


def _exists(program: Program) -> bool:
    directory = program.directory or b""
    return any(os.path.exists(os.path.join(directory, each)) for each in candidate_paths(program))
