"""Spawning through the stub, a small program that applies the settings in ChildSetup to its own
process and then executes the child's program.

So cgroups, rlimits, priorities and the user take effect before the program's first instruction,
without Python code in the forked child (preexec_fn). stub.c describes the stub's arguments and
its error report.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Final

from mythjobs.process import descriptors
from mythjobs.process.procfs import STUB_PREFIX
from mythjobs.process.quick_calls import move_above_streams
from mythjobs.process.reserve import is_shortage
from mythjobs.process.spawn.errors import CannotStart, setup_error
from mythjobs.process.spawn.program import (
    NO_SETUP,
    ChildSetup,
    Program,
    exec_error,
    parse_io_class,
)

_DIRECTORY: Final = os.path.dirname(__file__)
_COMPILED: Final = os.path.join(_DIRECTORY, "mythjobs-stub")
# RLIM_INFINITY of the C library: all bits of an rlim_t set.
_INFINITY: Final = 2**64 - 1
# Byte that the stub writes once all settings are applied, just before exec. If the stub dies
# without writing it, the program did not run.
_BEFORE_EXEC: Final = b"."
_PROBE_TIMEOUT_S: Final = 10.0
# Descriptions of failed steps for error messages, by the first letter of the step's name in the
# stub's report.
STEPS: Final = {
    "j": "joining the cgroup",
    "r": "setting resource limits",
    "n": "setting the priority (nice)",
    "i": "setting the I/O class",
    "m": "setting the umask",
    "u": "changing the user",
}


def spawn_via_stub(program: Program, spawn_direct: Callable[[Program], int]) -> int:
    """Spawn the stub with `spawn_direct`; the stub applies the setup and executes the program.

    Return the program's pid: it is the stub's, which does not fork. The stub reports errors
    through a pipe that exec closes. Raises CannotStart, OSError.
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
            pid = _spawn_stub(stub, program, spawn_direct)
        finally:
            descriptors.close(write_fd)
        report = _read_report(read_fd)
    finally:
        descriptors.close(read_fd)
    if report == _BEFORE_EXEC:
        return pid
    status = reap(pid)
    if not report:
        raise CannotStart(0, f"starting the stub: {_describe_death(status)}")
    number, step = parse_report(report)
    if step == "exec":
        raise exec_error(number, program)
    raise setup_error(OSError(number, ""), STEPS.get(step[:1], f"child setup ({step})"))


def _spawn_stub(stub: Program, program: Program, spawn_direct: Callable[[Program], int]) -> int:
    try:
        return spawn_direct(stub)
    except CannotStart as error:
        if error.errno == errno.E2BIG:
            # The stub gets the program's arguments and environment. They are too large for exec(2):
            # report this as a failed exec of the program.
            raise exec_error(errno.E2BIG, program) from None
        raise


def _read_report(fd: int) -> bytes:
    """Return all that the stub wrote. The pipe is closed by exec, or by the stub's death."""
    report = b""
    while part := os.read(fd, 64):
        report += part
    return report


def _describe_death(status: int | None) -> str:
    if status is None:
        return "it died"
    code = os.waitstatus_to_exitcode(status)
    if code == -signal.SIGKILL:
        # The most likely reason: the stub runs in the program's cgroup.
        return "it was killed by signal 9, as happens if the limit on memory is too small"
    return f"it was killed by signal {-code}" if code < 0 else f"it exited with code {code}"


def reap(pid: int) -> int | None:
    """Reap a child whose start failed. Return its status, or None if the host program has reaped it
    already."""
    with suppress(ChildProcessError):
        return os.waitpid(pid, 0)[1]
    return None


def encode_setup(setup: ChildSetup) -> list[bytes]:
    """Return the stub's arguments for these settings. The change of user comes last, because an
    unprivileged user may not apply the others."""
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
    """Return the stub's command line. The caller passes `report_fd`, for errors, to the stub."""
    arguments = [*encode_setup(setup), b"p" + search.encode("utf-8", "surrogateescape")]
    if executable:
        arguments.append(b"x" + executable)
    return [*find_stub(), b"%d" % report_fd, *arguments, b"--", *argv]


def stub_environment(env: Sequence[bytes]) -> list[bytes]:
    """Return the stub's environment: the program's `env` with a prefix before each name, which the
    stub removes.

    `env` is not passed as arguments, because every user can read those. Without the prefix the
    program's LD_PRELOAD acts on the stub, which may be more privileged than the program.
    """
    return [STUB_PREFIX + each for each in env]


def parse_report(report: bytes) -> tuple[int, str]:
    """Return (errno, failed step) from the stub's report. The step is "exec" or a setup step."""
    number, _, step = report.removeprefix(_BEFORE_EXEC).partition(b" ")
    return (int(number) if number.isdigit() else 0), step.decode("ascii", "replace")


@lru_cache(maxsize=1)
def find_stub() -> tuple[bytes, ...]:
    """Return the command that runs the compiled stub if it works on this machine, else the command
    that runs the stub in Python."""
    compiled = compiled_stub()
    return compiled if _stub_works(compiled) else interpreted_stub()


def compiled_stub() -> tuple[bytes, ...]:
    return (os.fsencode(_COMPILED),)


def interpreted_stub() -> tuple[bytes, ...]:
    """Return the command that runs the stub in Python. It takes 10 ms to start, the compiled stub
    0.1 ms."""
    # UTF-8 mode in any locale, so that arguments that are not UTF-8 pass unchanged.
    options = (b"-I", b"-S", b"-X", b"utf8")
    script = os.path.join(_DIRECTORY, "stub_fallback.py")
    return (os.fsencode(sys.executable), *options, os.fsencode(script))


def _stub_works(stub: tuple[bytes, ...]) -> bool:
    """Return whether a stub works here: it must report the error for a program that cannot exist.

    Raises OSError if the machine has no process, memory or descriptor left for the probe.
    """
    try:
        report = _run_probe(stub, [])
    except OSError as error:
        if is_shortage(error):
            raise
        return False
    # Compare with the first byte ".", too: a stub of an earlier version does not write it.
    return report == b".%d exec" % errno.ENOTDIR


def check_can_join(cgroup_file: str) -> None:
    """Start a process that joins a cgroup: the only way to find out whether joining is permitted.

    Raises OSError if the process cannot join.
    """
    report = _run_probe(find_stub(), [b"j" + os.fsencode(cgroup_file)])
    number, step = parse_report(report)
    if step != "exec":
        # `number` is 0 if the stub wrote no report: it could not start, for lack of memory.
        raise OSError(number or errno.ENOMEM, f"cannot join {cgroup_file}")


def _run_probe(stub: tuple[bytes, ...], arguments: list[bytes]) -> bytes:
    """Run a stub without a program; return its report. Raises OSError."""
    # subprocess is not used, because a child that another thread forks meanwhile inherits the ends
    # of its pipes. Forked children close the ends of this pipe (descriptors.py).
    read_fd, write_fd = descriptors.create_pipe()
    try:
        try:
            argv = [*stub, b"2", *arguments, b"p", b"--", b"/dev/null/none"]
            redirect = [(os.POSIX_SPAWN_DUP2, write_fd, 2)]
            pid = os.posix_spawn(stub[0], argv, {}, file_actions=redirect)
        finally:
            descriptors.close(write_fd)
        poll = select.poll()
        poll.register(read_fd, select.POLLIN)
        if not poll.poll(_PROBE_TIMEOUT_S * 1000):
            os.kill(pid, signal.SIGKILL)
        report = _read_report(read_fd)
        reap(pid)
    finally:
        descriptors.close(read_fd)
    return report


@lru_cache(maxsize=1)
def _pinned_stub(pid: int) -> tuple[bytes, ...]:
    """Return a command that runs the stub even after an upgrade has deleted its file: through an
    open descriptor, or with the Python source as an argument."""
    command = find_stub()
    if len(command) == 1:
        fd = move_above_streams(os.open(command[0], os.O_RDONLY | os.O_CLOEXEC))
        return (b"/proc/%d/fd/%d" % (pid, fd),)
    with open(command[-1], "rb") as file:
        return (*command[:-1], b"-c", file.read())


def pin_stub() -> None:
    """Find the stub and open its file, so that it works after its deletion. Raises OSError."""
    _pinned_stub(os.getpid())
