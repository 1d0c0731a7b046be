"""Fault injection by the kernel: the Nth call of a system call fails in a process and its children.

A seccomp filter passes the calls to a supervisor in another process, which lets them continue or
returns an error (seccomp_unotify(2)). No code of ours is replaced.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import re
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, NamedTuple

_PR_SET_NO_NEW_PRIVS: Final = 38
_SET_MODE_FILTER: Final = 1
# TSYNC, NEW_LISTENER, TSYNC_ESRCH: all threads, and return the descriptor of notifications.
_FLAGS: Final = 1 | 8 | 16
_RET_USER_NOTIF: Final = 0x7FC00000
_RET_ALLOW: Final = 0x7FFF0000
_LOAD_NUMBER: Final = (0x20, 0, 0, 0)
_RECEIVE: Final = 0xC0502100
_SEND: Final = 0xC0182101
_CONTINUE: Final = 1
# The same number on all machines.
_PIDFD_GETFD: Final = 438
_NOTIFICATION: Final = struct.Struct("QIIiIQ6Q")
_RESPONSE: Final = struct.Struct("QqiI")
# Numbers in paths: pids, descriptors, names of cgroups.
_VARIABLE: Final = re.compile(r"[0-9a-f]*[0-9][0-9a-f]*")

# Numbers on x86_64 and aarch64, where they differ; None where there is no such call.
NUMBERS: Final[dict[str, dict[str, int]]] = {
    "x86_64": {
        "openat": 257, "pipe2": 293, "eventfd2": 290, "epoll_create1": 291, "epoll_ctl": 233,
        "memfd_create": 319, "clone": 56, "clone3": 435, "vfork": 58, "fork": 57,
        "pidfd_open": 434, "mmap": 9, "fcntl": 72, "dup": 32, "dup2": 33, "dup3": 292,
        "execve": 59, "mkdir": 83, "ftruncate": 77, "getdents64": 217, "prlimit64": 302,
    },
    "aarch64": {
        "openat": 56, "pipe2": 59, "eventfd2": 19, "epoll_create1": 20, "epoll_ctl": 21,
        "memfd_create": 279, "clone": 220, "clone3": 435, "pidfd_open": 434, "mmap": 222,
        "fcntl": 25, "dup": 23, "dup3": 24, "execve": 221, "mkdirat": 34, "ftruncate": 46,
        "getdents64": 61, "prlimit64": 261,
    },
}  # fmt: skip


class Fault(NamedTuple):
    """The `nth` call (from 1) of `name` fails with `errno`; 0 for no call."""

    name: str
    nth: int
    errno: int


class Result(NamedTuple):
    """What `scenario` and `after` returned, "" if they raised, or None if they did not end in time.

    counts: how often each system call was made, up to the end of the scenario; with a fault, only
    that call is counted.
    paths: of each call of openat and getdents64 in `counts` without a fault, the path with "#" for
    each number, "" if unknown.
    children: pids of child processes, zombies too, at that time. descriptors: what the open ones
    refer to (links in /proc) at the end.
    """

    report: str | None
    after: str | None
    counts: dict[str, int]
    paths: dict[str, list[str]]
    children: list[int]
    descriptors: list[str]


def is_supported() -> bool:
    return os.uname().machine in NUMBERS and sys.maxsize > 2**32


def run(
    prepare: Callable[[], object],
    scenario: Callable[[], str],
    after: Callable[[], str],
    fault: Fault,
    *,
    is_exempt: Callable[[int], bool],
    timeout_s: float = 20.0,
) -> Result:
    """Fork a process that calls `prepare`, `scenario` with the fault in effect, and `after`.

    System calls of a process for which `is_exempt(pid)` is true always succeed.
    """
    numbers = NUMBERS[os.uname().machine]
    # Each call that passes to the supervisor waits for the scheduler twice, which takes long on a
    # busy machine.
    watched = [numbers[fault.name]] if fault.name else list(numbers.values())
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        ours.close()
        _run_child(theirs, watched, prepare, scenario, after)
    theirs.close()
    try:
        return _supervise(pid, ours, fault, is_exempt, timeout_s)
    finally:
        ours.close()
        _kill_session(pid)
        os.waitpid(pid, 0)


def _run_child(
    channel: socket.socket,
    watched: list[int],
    prepare: Callable[[], object],
    scenario: Callable[[], str],
    after: Callable[[], str],
) -> None:
    try:
        os.setsid()
        prepare()
        listener = _install_filter(watched)
        for function in (scenario, after):
            # Until the supervisor is ready.
            channel.recv(1)
            if listener >= 0:
                os.close(listener)
                listener = -1
            try:
                report = function()
            except BaseException as error:
                report = f"raised {error!r}"
            channel.sendall(report.encode())
        channel.recv(1)
    finally:
        os._exit(0)


def _install_filter(numbers: list[int]) -> int:
    program = [_LOAD_NUMBER]
    for index, number in enumerate(numbers):
        program.append((0x15, len(numbers) - index, 0, number))
    program += [(0x06, 0, 0, _RET_ALLOW), (0x06, 0, 0, _RET_USER_NOTIF)]
    code = b"".join(struct.pack("HBBI", *each) for each in program)
    buffer = ctypes.create_string_buffer(code)
    header = struct.pack("HxxxxxxQ", len(program), ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    seccomp = {"x86_64": 317, "aarch64": 277}[os.uname().machine]
    fd: int = libc.syscall(seccomp, _SET_MODE_FILTER, _FLAGS, header)
    if fd < 0:
        raise OSError(ctypes.get_errno(), "seccomp")
    return fd


def _take_listener(pid: int, channel: socket.socket, deadline_s: float) -> int:
    """Return a copy of the descriptor of notifications that the child `pid` has just received.

    The child cannot send it: any of its threads may already wait for an answer, with the
    interpreter's lock, which sending needs.

    Raises OSError if no filter can be installed, or if another process's descriptor may not be
    copied (pidfd_getfd(2)).
    """
    while time.monotonic() < deadline_s:
        for fd in os.listdir(f"/proc/{pid}/fd"):
            with suppress(FileNotFoundError):
                if os.readlink(f"/proc/{pid}/fd/{fd}") == "anon_inode:seccomp notify":
                    return _copy_descriptor(pid, int(fd))
        if select.select([channel], [], [], 0.001)[0]:
            # It has exited.
            break
    raise OSError("the system calls of a process cannot be supervised here")


def _copy_descriptor(pid: int, fd: int) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    pidfd = os.pidfd_open(pid)
    try:
        copy: int = libc.syscall(_PIDFD_GETFD, pidfd, fd, 0)
    finally:
        os.close(pidfd)
    if copy < 0:
        raise OSError(ctypes.get_errno(), "the system calls of a process cannot be supervised here")
    return copy


def _supervise(
    pid: int,
    channel: socket.socket,
    fault: Fault,
    is_exempt: Callable[[int], bool],
    timeout_s: float,
) -> Result:
    listener = _take_listener(pid, channel, time.monotonic() + timeout_s)
    names = {number: name for name, number in NUMBERS[os.uname().machine].items()}
    counts: dict[str, int] = dict.fromkeys(names.values(), 0)
    paths: dict[str, list[str]] = {"openat": [], "getdents64": []}
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    poll.register(channel, select.POLLIN)

    def serve(fault: Fault) -> str | None:
        channel.send(b"g")
        deadline_s = time.monotonic() + timeout_s
        while (left_s := deadline_s - time.monotonic()) > 0:
            for fd, events in poll.poll(left_s * 1000):
                if fd == channel.fileno():
                    return channel.recv(2**20).decode()
                if events & select.POLLIN:
                    _answer(listener, names, counts, paths, fault, is_exempt)
        return None

    try:
        report = serve(fault)
        total, seen = dict(counts), {name: [*each] for name, each in paths.items()}
        children = _list_children(pid)
        after = None if report is None else serve(Fault("", 0, 0))
        fds = os.listdir(f"/proc/{pid}/fd")
        descriptors = [os.readlink(f"/proc/{pid}/fd/{each}") for each in fds]
        return Result(report, after, total, seen, children, descriptors)
    finally:
        # First, since no call of it may fail as long as it lives, but for the one that should.
        _kill_session(pid)
        os.close(listener)


def _answer(
    listener: int,
    names: dict[int, str],
    counts: dict[str, int],
    paths: dict[str, list[str]],
    fault: Fault,
    is_exempt: Callable[[int], bool],
) -> None:
    buffer = bytearray(_NOTIFICATION.size)
    try:
        fcntl.ioctl(listener, _RECEIVE, buffer)
    except FileNotFoundError:
        # The caller was killed meanwhile.
        return
    number_id, pid, _, number, _, _, *arguments = _NOTIFICATION.unpack(buffer)
    name, error = names[number], 0
    if not is_exempt(pid):
        counts[name] += 1
        if name in paths and not fault.name:
            paths[name].append(_find_path(pid, name, arguments))
        if name == fault.name and counts[name] == fault.nth:
            error = fault.errno
    flags = 0 if error else _CONTINUE
    try:
        fcntl.ioctl(listener, _SEND, bytearray(_RESPONSE.pack(number_id, 0, -error, flags)))
    except FileNotFoundError:
        return


def _find_path(pid: int, name: str, arguments: Sequence[int]) -> str:
    try:
        if name == "openat":
            with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
                data = os.pread(memory.fileno(), 256, arguments[1])
            path = os.fsdecode(data.partition(b"\0")[0])
        else:
            path = os.readlink(f"/proc/{pid}/fd/{arguments[0]}")
    except OSError:
        return ""
    return _VARIABLE.sub("#", path)


def _kill_session(leader: int) -> None:
    """Kill the child and all processes that descend from it."""
    pids, waiting = [], [leader]
    while waiting:
        pids.append(waiting.pop())
        waiting += _list_children(pids[-1])
    for pid in pids:
        with suppress(OSError):
            os.kill(pid, signal.SIGKILL)


def _list_children(pid: int) -> list[int]:
    found: list[int] = []
    with suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children") as file:
                found += [int(each) for each in file.read().split()]
    return found
