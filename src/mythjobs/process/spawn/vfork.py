"""Starting one program: vfork, exec, and the kernel's answer. Nothing else spawns."""

from __future__ import annotations

import _posixsubprocess
import errno
import mmap
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import lru_cache
from typing import Final, NamedTuple

from mythjobs.process.spawn import errors, stubbed
from mythjobs.process.spawn.errors import CannotStart
from mythjobs.process.spawn.stub import PLAIN, Wishes

# Its signature differs by version, and typeshed knows it as subprocess uses it only.
_vfork_exec: Final[Callable[..., int]] = _posixsubprocess.fork_exec
_LARGEST_ANSWER: Final = 4096
_QUESTIONS: Final = 8


class Program(NamedTuple):
    """`argv` and `env` (NAME=value) are what the child gets, byte for byte; the three numbers
    are our descriptors that become its 0, 1 and 2, and -1 leaves it the one that we have.
    `search` is the PATH in its environment. With `session` it leads one of its own. What `wishes`
    asks for is done to it before its program begins; `report` is a descriptor that stays open.
    With a `umask` of -1 it has ours."""

    argv: list[bytes]
    env: list[bytes]
    search: str
    cwd: bytes
    stdin: int
    stdout: int
    stderr: int
    session: bool = True
    wishes: Wishes = PLAIN
    report: int = -1
    umask: int = -1


Spawn = Callable[[Program], int]


def program(
    argv: list[str], env: dict[str, str], cwd: str, stdin: int, stdout: int, stderr: int
) -> Program:
    """Raises CannotStart for text that no process can be given."""
    try:
        args = [each.encode("utf-8", "surrogateescape") for each in argv]
        pairs = [f"{k}={v}".encode("utf-8", "surrogateescape") for k, v in env.items()]
        where = cwd.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        bad = error.object[error.start : error.end]
        raise CannotStart(0, f"{bad!a} in its arguments or environment is no text") from None
    if not args or not args[0]:
        raise CannotStart(0, "the name of the program is empty")
    if any(b"\0" in text for text in (*args, *pairs, where)):
        raise CannotStart(0, "a NUL byte in its arguments or environment cannot be passed on")
    if any(not name or "=" in name for name in env):
        raise CannotStart(0, 'the name of an environment variable is empty or has a "="')
    return Program(args, pairs, env.get("PATH", os.defpath), where, stdin, stdout, stderr)


@lru_cache(maxsize=64)
def _directories(search: str) -> tuple[bytes, ...]:
    # An empty element is the current directory (environ(7)), which join() gives as well.
    return tuple(each.encode("utf-8", "surrogateescape") for each in search.split(":"))


def _candidates(program: Program) -> tuple[bytes, ...]:
    name = program.argv[0]
    if b"/" in name:
        return (name,)
    return tuple(os.path.join(each, name) for each in _directories(program.search))


class Vfork:
    """One thread's way to spawn; `spawn` must not be called from two at a time.

    `_posixsubprocess` is private: it is CPython's own, and subprocess.Popen over it costs
    half as much again. It lets the other threads run while the kernel suspends this one
    until the child has done its exec (CPython gh-104372). As the child is through by then,
    an answer that exec failed is there too, and a place in memory can hold it: a pipe, as
    subprocess has it, takes four system calls, and at each of them our threads change over.
    """

    def __init__(self) -> None:
        self._answer: int = os.memfd_create("answer", os.MFD_CLOEXEC)
        os.ftruncate(self._answer, _LARGEST_ANSWER)
        self._memory = mmap.mmap(self._answer, _LARGEST_ANSWER)
        # The child closes what it takes for the other end of the pipe.
        self._end = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)

    def spawn(self, program: Program) -> int:
        if program.wishes is not PLAIN:
            return stubbed.spawn(program, self.spawn, _at_exec)
        keep: tuple[int, ...] = (self._answer,)
        if program.report >= 0:
            keep = tuple(sorted((self._answer, program.report)))
        pid = _vfork_exec(
            program.argv, _candidates(program), True, keep, program.cwd, program.env,
            program.stdin, -1, -1, program.stdout, -1, program.stderr, self._end, self._answer,
            True, program.session, -1, None, None, None, program.umask, None, *_ALLOW_VFORK,
        )  # fmt: skip
        if not self._memory[0]:
            return pid
        os.waitpid(pid, 0)
        said = bytes(self._memory[: os.lseek(self._answer, 0, os.SEEK_CUR)])
        self._memory[:] = bytes(_LARGEST_ANSWER)
        os.lseek(self._answer, 0, os.SEEK_SET)
        raise _failed(said, program)

    def close(self) -> None:
        self._memory.close()
        os.close(self._answer)
        os.close(self._end)


# Python 3.14 took the last argument away (gh-121381).
_ALLOW_VFORK: Final[tuple[bool, ...]] = (True,) if sys.version_info < (3, 14) else ()


def _failed(said: bytes, program: Program) -> CannotStart:
    """`said` is what the child wrote: exception, errno in hex, and where it was."""
    kind, number, where = said.split(b":", 2)
    if kind != b"OSError":
        return CannotStart(0, f"it could not be started: {said.decode('ascii', 'replace')}")
    return _refused(int(number, 16), where.startswith(b"noexec"), program)


def _refused(number: int, before_exec: bool, program: Program) -> CannotStart:
    if before_exec:
        # Of what comes before exec only chdir(2) can fail on account of the job.
        where = errors.printable(os.fsdecode(program.cwd))
        return errors.at_preparing(OSError(number, ""), f"its working directory {where}")
    return _at_exec(number, program)


def _at_exec(number: int, program: Program) -> CannotStart:
    name = program.argv[0].decode("utf-8", "surrogateescape")
    present = number == errno.ENOENT and any(
        os.path.exists(os.path.join(program.cwd, each)) for each in _candidates(program)
    )
    return errors.at_exec(number, name, program.search, present)


def spawn_by_popen(program: Program) -> int:
    """The same by the public way, for a Python whose private one is not as we know it."""
    if program.wishes is not PLAIN:
        return stubbed.spawn(program, spawn_by_popen, _at_exec)
    try:
        process = subprocess.Popen(
            program.argv,
            env=dict(pair.split(b"=", 1) for pair in program.env),
            cwd=program.cwd,
            stdin=_or_ours(program.stdin),
            stdout=_or_ours(program.stdout),
            stderr=_or_ours(program.stderr),
            start_new_session=program.session,
            umask=program.umask,
            pass_fds=() if program.report < 0 else (program.report,),
        )
    except OSError as error:
        number = error.errno or 0
        # Popen names what failed: the directory if it was chdir, else the program.
        before_exec = error.filename == program.cwd and not os.path.isdir(program.cwd)
        raise _refused(number, before_exec, program) from None
    # Else Popen would reap our child when the next one starts.
    process.returncode = 0
    return process.pid


def _or_ours(fd: int) -> int | None:
    return None if fd < 0 else fd


def _vfork_works() -> bool:
    """Whether it answers as we know it does. The question starts no program, and is put more
    than once: where the kernel does not suspend us, an answer is there only by chance."""
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    vfork = Vfork()
    try:
        return all(_says_not_a_directory(vfork, null) for _ in range(_QUESTIONS))
    finally:
        vfork.close()
        os.close(null)


def _says_not_a_directory(vfork: Vfork, null: int) -> bool:
    try:
        pid = vfork.spawn(Program([b"/dev/null/none"], [], "", b"/", null, null, null))
    except CannotStart as answer:
        return answer.errno == errno.ENOTDIR
    except (TypeError, ValueError):
        return False
    os.waitpid(pid, 0)
    return False


def spawners() -> Callable[[], Spawn]:
    """What makes each thread its `spawn`: the pid of the new process, once its exec has been
    answered, in a session of its own and with signals as at a login.

    That raises CannotStart with the kernel's answer, which is final; and OSError if it is us
    who cannot: no process, memory or descriptor left.
    """
    if _vfork_works():
        return lambda: Vfork().spawn
    return lambda: spawn_by_popen


def clean_signals() -> None:
    """What was ignored or blocked when we were started (nohup) must not be so in children."""
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    for number in signal.valid_signals() - _PYTHONS_OWN:
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


# Ignored by Python for its own sake, so that write() fails instead of killing us, and given
# back to children by fork_exec (restore_signals).
_PYTHONS_OWN: Final = {signal.SIGPIPE, signal.SIGXFSZ}
