"""Spawning through the stub: a small program that applies ChildSetup between fork and exec.

Cgroups, rlimits, priorities and the user of a child take effect before its program's first
instruction, and no Python code runs in the forked child (no preexec_fn). stub.c describes the
stub's arguments and its report.
"""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Final

from mythjobs.process import descriptors
from mythjobs.process.procfs import STUB_PREFIX
from mythjobs.process.spawn.errors import is_shortage, setup_error
from mythjobs.process.spawn.program import (
    NO_SETUP,
    ChildSetup,
    Program,
    exec_error,
    parse_io_class,
)

_DIRECTORY: Final = Path(__file__).parent
_COMPILED: Final = _DIRECTORY / "mythjobs-stub"
# RLIM_INFINITY of the C library: all bits of an rlim_t set.
_INFINITY: Final = 2**64 - 1
_PROBE_TIMEOUT_S: Final = 10.0
# By the first letter of the step that the stub reports.
_STEPS: Final = {
    "j": "joining the cgroup",
    "r": "setting resource limits",
    "n": "setting the priority (nice)",
    "i": "setting the I/O class",
    "m": "setting the umask",
    "u": "changing the user",
}


def spawn_via_stub(program: Program, spawn_direct: Callable[[Program], int]) -> int:
    """Spawn the stub with `spawn_direct`; the stub applies the setup and executes the program.

    The pid is the program's: the stub does not fork. A pipe that exec closes carries its errors.
    Raises CannotStart and OSError.
    """
    read_fd, write_fd = descriptors.create_pipe()
    try:
        try:
            argv = stub_argv(
                write_fd, program.setup, program.search, program.argv, program.executable
            )
            argv[: len(find_stub())] = _pinned_stub(os.getpid())
            stub = program._replace(
                argv=argv,
                env=stub_environment(program.env),
                setup=NO_SETUP,
                pass_fds=(*program.pass_fds, write_fd),
                executable=b"",
            )
            pid = spawn_direct(stub)
        finally:
            descriptors.close(write_fd)
        report = _read_report(read_fd)
    finally:
        descriptors.close(read_fd)
    if not report:
        return pid
    reap(pid)
    number, step = parse_report(report)
    if step == "exec":
        raise exec_error(number, program)
    raise setup_error(OSError(number, ""), _STEPS.get(step[:1], f"child setup ({step})"))


def _read_report(fd: int) -> bytes:
    """Return the report, of at most 64 bytes; empty if exec has closed the pipe."""
    return os.read(fd, 64)


def reap(pid: int) -> None:
    """Reap a child that did not become the program, if the host program has not."""
    with suppress(ChildProcessError):
        os.waitpid(pid, 0)


def encode_setup(setup: ChildSetup) -> list[bytes]:
    """Return the stub's arguments, in an order that works: the change of user comes last, as an
    unprivileged user may not do the rest."""
    steps = [f"j{path}" for path in setup.cgroup_files]
    for number, limits in (setup.rlimits or {}).items():
        soft, hard = (_INFINITY if each < 0 else each for each in limits)
        steps.append(f"r{number}:{soft}:{hard}")
    if setup.nice:
        steps.append(f"n{setup.nice}")
    if setup.io:
        io_class, level = parse_io_class(setup.io)
        steps.append(f"i{io_class}:{level}")
    if setup.umask >= 0:
        steps.append(f"m{setup.umask:o}")
    if setup.user is not None:
        groups = ",".join(str(each) for each in setup.user.groups)
        steps.append(f"u{setup.user.uid}:{setup.user.gid}:{groups}")
    return [os.fsencode(each) for each in steps]


def stub_argv(
    report_fd: int, setup: ChildSetup, search: str, argv: Sequence[bytes], executable: bytes = b""
) -> list[bytes]:
    """Return the stub's command line. The stub must have `report_fd` open."""
    words = [*encode_setup(setup), b"p" + search.encode("utf-8", "surrogateescape")]
    if executable:
        words.append(b"x" + executable)
    return [*find_stub(), b"%d" % report_fd, *words, b"--", *argv]


def stub_environment(env: Sequence[bytes]) -> list[bytes]:
    """Return the stub's environment, from which it restores the program's `env`.

    Arguments are readable by every user. With the prefix the program's LD_PRELOAD does not act
    on the stub, which may be more privileged than the program.
    """
    return [STUB_PREFIX + each for each in env]


def parse_report(report: bytes) -> tuple[int, str]:
    """Return the errno and the step that failed: "exec", or the name of a setup step."""
    number, _, step = report.partition(b" ")
    return (int(number) if number.isdigit() else 0), step.decode("ascii", "replace")


@lru_cache(maxsize=1)
def find_stub() -> tuple[bytes, ...]:
    """Return the command of the compiled stub if that works here, else of the Python one."""
    compiled = compiled_stub()
    return compiled if _stub_works(compiled) else interpreted_stub()


def compiled_stub() -> tuple[bytes, ...]:
    return (os.fsencode(_COMPILED),)


def interpreted_stub() -> tuple[bytes, ...]:
    """The fallback takes 10 ms to start; the compiled stub takes 0.1 ms."""
    # UTF-8 mode in any locale, so that every byte passes unchanged.
    options = (b"-I", b"-S", b"-X", b"utf8")
    return (os.fsencode(sys.executable), *options, os.fsencode(_DIRECTORY / "stub_fallback.py"))


def _stub_works(stub: tuple[bytes, ...]) -> bool:
    """Probe a stub without starting a program: a nonexistent path must be reported as such.

    Raises OSError if the machine lacks the means to probe.
    """
    try:
        done = subprocess.run(
            [*stub, b"2", b"p", b"--", b"/dev/null/none"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=_PROBE_TIMEOUT_S,
            check=False,
            env={},
        )
    except (OSError, subprocess.SubprocessError) as error:
        if isinstance(error, OSError) and is_shortage(error):
            raise
        return False
    # The exit code is unknown if the host program ignores SIGCHLD.
    return parse_report(done.stderr) == (errno.ENOTDIR, "exec")


@lru_cache(maxsize=1)
def _pinned_stub(pid: int) -> tuple[bytes, ...]:
    """Return a command of the stub that keeps working after an upgrade deletes its file."""
    command = find_stub()
    if len(command) == 1:
        fd = os.open(command[0], os.O_RDONLY | os.O_CLOEXEC)
        return (b"/proc/%d/fd/%d" % (pid, fd),)
    with open(command[-1], "rb") as file:
        return (*command[:-1], b"-c", file.read())


def pin_stub() -> None:
    """Find the stub and keep it open from now on. Raises OSError."""
    _pinned_stub(os.getpid())
