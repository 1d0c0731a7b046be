"""Processes as /proc shows them: sessions, parents, and the mark in a job's environment."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from mythjobs.clock import Now, machine_now

# A job is named by its number and the number of its attempt.
Key = tuple[int, int]

MARK_JOB: Final = "MYTHJOBS_JOB"
MARK_ATTEMPT: Final = "MYTHJOBS_ATTEMPT"
_LISTS_CHILDREN: Final = os.path.exists("/proc/thread-self/children")
# Looks at one that shows no environment; the second for one that shows no command line either,
# as in exec(2), in which a busy machine may leave it for a while.
_LOOKS: Final = 40
_LOOKS_IN_EXEC: Final = 400
_PAUSE_S: Final = 0.0005
_YOUNG_MS: Final = 1000
TICK_MS: Final = 1000 // os.sysconf("SC_CLK_TCK")


class Process(NamedTuple):
    """`born_ms` is on CLOCK_BOOTTIME, cut to a clock tick (proc(5), /proc/pid/stat 22)."""

    pid: int
    state: str
    parent: int
    session: int
    born_ms: int

    @property
    def dead(self) -> bool:
        return self.state in "ZX"


def read_process(pid: int) -> Process | None:
    """None if there is none with this number. A zombie is one still."""
    fields = stat_fields(pid)
    if not fields:
        return None
    born_ms = int(fields[19]) * TICK_MS
    return Process(pid, fields[0].decode(), int(fields[1]), int(fields[3]), born_ms)


def stat_fields(pid: int) -> list[bytes]:
    """The fields of /proc/pid/stat from the third on, or none if there is no such process."""
    text = _read(f"/proc/{pid}/stat")
    # The name may hold anything, spaces and brackets too; nothing behind it does.
    fields = text[text.rfind(b")") + 1 :].split()
    return fields if len(fields) >= 20 else []


def read_io(pid: int) -> tuple[int, int]:
    """Bytes that it and those it waited for have had read from and written to disks."""
    found = dict(line.split(b": ") for line in _read(f"/proc/{pid}/io").splitlines())
    return int(found.get(b"read_bytes", 0)), int(found.get(b"write_bytes", 0))


def moved_bytes(pid: int) -> int:
    """Bytes that passed through its reads and writes, whatever lies behind them."""
    found = dict(line.split(b": ") for line in _read(f"/proc/{pid}/io").splitlines())
    return int(found.get(b"rchar", 0)) + int(found.get(b"wchar", 0))


def all_children(pid: int) -> list[int]:
    """The children of all its threads, the dead ones too."""
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return []
    return [child for thread in threads for child in children(pid, int(thread))]


def processes() -> Iterator[Process]:
    """Every process of this machine that we can see, zombies included."""
    for name in os.listdir("/proc"):
        if name.isdigit() and (found := read_process(int(name))):
            yield found


class Census:
    """All processes of this machine, looked for once in a turn of a loop: a thousand children
    that are to be ended together would be a thousand looks. Who is born after it is found when
    the leader is dead."""

    def __init__(self) -> None:
        self._taken: Now | None = None
        self._found: list[Process] = []

    def at(self, now: Now) -> list[Process]:
        """`now` is the loop's: another object is another turn."""
        if self._taken is not now:
            self._taken, self._found = now, list(processes())
        return self._found


def family(leader: int, everyone: Iterable[Process]) -> list[Process]:
    """Who of them is in the session of this leader or descends from one who is, the leader
    first; the dead that are not reaped are left out."""
    below: dict[int, list[Process]] = {}
    found: dict[int, Process] = {}
    for each in everyone:
        below.setdefault(each.parent, []).append(each)
        if each.pid == leader or each.session == leader:
            found[each.pid] = each
    waiting = list(found)
    while waiting:
        for each in below.get(waiting.pop(), ()):
            if each.pid not in found:
                found[each.pid] = each
                waiting.append(each.pid)
    ordered = sorted(found.values(), key=lambda each: each.pid != leader)
    return [each for each in ordered if not each.dead]


def children(pid: int, thread: int) -> list[int]:
    """The children that belong to one thread of a process, the dead ones too."""
    text = _read(f"/proc/{pid}/task/{thread}/children")
    if text or _LISTS_CHILDREN:
        return [int(each) for each in text.split()]
    # A kernel without CONFIG_PROC_CHILDREN.
    return [each.pid for each in processes() if each.parent == pid]


def mark_of(pid: int) -> Key | None:
    """The attempt that this process was started for, by the environment it began with."""
    found: dict[str, str] = {}
    for pair in _environment(pid).split(b"\0"):
        if pair.startswith(b"MYTHJOBS_"):
            name, _, value = pair.decode("ascii", "replace").partition("=")
            found.setdefault(name, value)
    try:
        return int(found[MARK_JOB]), int(found[MARK_ATTEMPT])
    except (KeyError, ValueError):
        return None


def has_mark(pid: int, name: str, mark: str) -> bool:
    """Whether this word stands in that variable of the environment it began with."""
    prefix = f"{name}=".encode()
    for pair in _environment(pid).split(b"\0"):
        if pair.startswith(prefix):
            return mark.encode() in pair[len(prefix) :].split(b" ")
    return False


def _environment(pid: int) -> bytes:
    """While it is in exec(2) there is none to be read for a moment: for one that is young and
    ours to read that moment is waited for, as its mark would be missed else."""
    data = _read(f"/proc/{pid}/environ")
    for look in range(_LOOKS_IN_EXEC):
        if data or not _may_be_in_exec(pid):
            break
        if look >= _LOOKS and command_line(pid):
            break
        time.sleep(_PAUSE_S)
        data = _read(f"/proc/{pid}/environ")
    return data


def _may_be_in_exec(pid: int) -> bool:
    process = read_process(pid)
    if process is None or process.dead or not os.access(f"/proc/{pid}/environ", os.R_OK):
        return False
    return machine_now().steady_ms - process.born_ms < _YOUNG_MS


def command_line(pid: int) -> bytes:
    return _read(f"/proc/{pid}/cmdline")


def _read(path: str) -> bytes:
    """Empty if it is gone, or not ours to read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        parts = []
        while part := os.read(fd, 65536):
            parts.append(part)
            # The kernel gives as much as fits into a page of its own, to within one line.
            if len(part) < 2048:
                break
        return b"".join(parts)
    except OSError:
        return b""
    finally:
        os.close(fd)
