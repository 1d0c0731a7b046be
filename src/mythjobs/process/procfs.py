"""Process information from /proc: parents, sessions, I/O counters, and environment marks, the
variables that name the attempt or library object that a process belongs to."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Final, NamedTuple

from mythjobs.clock import Now, machine_now
from mythjobs.process.reserve import is_shortage, use_file, use_reserve

# Identifies an attempt: (job id, attempt number).
AttemptKey = tuple[int, int]

JOB_VARIABLE: Final = "MYTHJOBS_JOB"
ATTEMPT_VARIABLE: Final = "MYTHJOBS_ATTEMPT"
# The stub (spawn/stub.c) gets the program's environment with this prefix before each name, so that
# variables such as LD_PRELOAD do not affect the stub itself.
STUB_PREFIX: Final = b"."
_HAS_CHILDREN_FILE: Final = os.path.exists("/proc/thread-self/children")
# Times that an environment is read again while it reads as empty. _ENVIRON_READS_IN_EXEC applies if
# the command line is empty too, as during exec(2), which may take long on a busy machine.
_ENVIRON_READS: Final = 40
_ENVIRON_READS_IN_EXEC: Final = 400
_READ_PAUSE_S: Final = 0.0005
_MAX_EXEC_AGE_MS: Final = 1000
TICK_MS: Final = 1000 // os.sysconf("SC_CLK_TCK")


class ProcessInfo(NamedTuple):
    """A process as in /proc/PID/stat. start_time_ms: instant on CLOCK_BOOTTIME, truncated to a
    clock tick (field 22 in proc(5))."""

    pid: int
    state: str
    parent_pid: int
    session_id: int
    start_time_ms: int

    @property
    def is_dead(self) -> bool:
        return self.state in "ZX"


def read_process(pid: int) -> ProcessInfo | None:
    """Return the process with this pid, possibly a zombie, or None if the pid is not in use."""
    fields = read_stat_fields(pid)
    if not fields:
        return None
    born_ms = int(fields[19]) * TICK_MS
    return ProcessInfo(pid, fields[0].decode(), int(fields[1]), int(fields[3]), born_ms)


def is_pid_in_use(pid: int) -> bool:
    """Return whether a process has this pid, even one that /proc hides (hidepid in proc(5)), or
    whose file cannot be read now."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def read_stat_fields(pid: int) -> list[bytes]:
    """Return the fields of /proc/PID/stat from the third on; [] if the pid is not in use."""
    text = _read(f"/proc/{pid}/stat")
    # Only the second field, the name in parentheses, may contain spaces and parentheses.
    fields = text[text.rfind(b")") + 1 :].split()
    return fields if len(fields) >= 20 else []


def read_zombie_status(pid: int) -> int | None:
    """Return the wait status of a zombie, or None if this process may not know it."""
    fields = read_stat_fields(pid)
    # The kernel shows 0 as field 52 to who may not read the process; such a process cannot read
    # the file `io` either (do_task_stat() and do_io_accounting() in fs/proc).
    return int(fields[49]) if len(fields) >= 50 and _read(f"/proc/{pid}/io") else None


def read_disk_io_bytes(pid: int) -> tuple[int, int]:
    """Return the bytes that the process, and the children that it has waited for, have read from
    and written to disks."""
    found = dict(line.split(b": ") for line in _read(f"/proc/{pid}/io").splitlines())
    return int(found.get(b"read_bytes", 0)), int(found.get(b"write_bytes", 0))


def read_transferred_bytes(pid: int) -> int:
    """Return the number of bytes in all read and write calls of the process, whether they caused
    disk I/O or not."""
    found = dict(line.split(b": ") for line in _read(f"/proc/{pid}/io").splitlines())
    return int(found.get(b"rchar", 0)) + int(found.get(b"wchar", 0))


def list_children(pid: int) -> list[int]:
    """Return the pids of the children of a process, of all its threads, including zombies."""
    try:
        threads = list_directory(f"/proc/{pid}/task")
    except OSError as error:
        if is_shortage(error):
            raise
        return []
    return [child for thread in threads for child in list_thread_children(pid, int(thread))]


def list_directory(path: str) -> list[str]:
    """Return the names in a directory. Raises OSError."""
    # By its path: listdir() duplicates a descriptor, so that it would need two.
    return use_reserve(partial(os.listdir, path))


def list_processes() -> Iterator[ProcessInfo]:
    """Yield every visible process of the machine, including zombies."""
    for name in list_directory("/proc"):
        if name.isdigit() and (found := read_process(int(name))):
            yield found


class ProcessTrees:
    """Processes by parent and by session, to find many process trees in one list."""

    def __init__(self, processes: Iterable[ProcessInfo] = ()) -> None:
        self._by_parent: dict[int, list[ProcessInfo]] = {}
        self._by_session: dict[int, list[ProcessInfo]] = {}
        self._by_pid: dict[int, ProcessInfo] = {}
        for each in processes:
            self._by_parent.setdefault(each.parent_pid, []).append(each)
            self._by_session.setdefault(each.session_id, []).append(each)
            self._by_pid[each.pid] = each

    def find_tree(self, leader_pid: int) -> list[ProcessInfo]:
        """Return the members of the leader's session and their descendants, the leader first,
        without zombies."""
        found = {each.pid: each for each in self._by_session.get(leader_pid, ())}
        if leader := self._by_pid.get(leader_pid):
            found[leader_pid] = leader
        waiting = list(found)
        while waiting:
            for each in self._by_parent.get(waiting.pop(), ()):
                if each.pid not in found:
                    found[each.pid] = each
                    waiting.append(each.pid)
        ordered = sorted(found.values(), key=lambda each: each.pid != leader_pid)
        return [each for each in ordered if not each.is_dead]


class ProcessSnapshot:
    """All processes of the machine, read from /proc at most once per iteration of the event loop.

    The snapshot avoids reading /proc a thousand times when a thousand children are stopped
    together. It lacks processes created meanwhile; cleanup finds those after their leader's exit.
    """

    def __init__(self) -> None:
        self._taken_at: Now | None = None
        self._processes = ProcessTrees()

    def read(self, now: Now) -> ProcessTrees:
        """Return all processes. `now` must be the event loop's `now`, which is a new object in each
        iteration: the same object means that the snapshot is still current."""
        if self._taken_at is not now:
            self._taken_at, self._processes = now, ProcessTrees(list_processes())
        return self._processes


def list_thread_children(pid: int, thread: int) -> list[int]:
    """Return the children of one thread of a process, including zombies."""
    text = _read(f"/proc/{pid}/task/{thread}/children")
    if text or _HAS_CHILDREN_FILE:
        return [int(each) for each in text.split()]
    # The kernel was built without CONFIG_PROC_CHILDREN: search all processes instead.
    return [each.pid for each in list_processes() if each.parent_pid == pid]


def read_attempt_mark(pid: int) -> AttemptKey | None:
    """Return the attempt that a process belongs to, according to the variables MYTHJOBS_JOB and
    MYTHJOBS_ATTEMPT in its initial environment. None without these variables."""
    found: dict[str, str] = {}
    for pair in _read_environment(pid).split(b"\0"):
        pair = pair.removeprefix(STUB_PREFIX)
        if pair.startswith(b"MYTHJOBS_"):
            name, _, value = pair.decode("ascii", "replace").partition("=")
            found.setdefault(name, value)
    try:
        return int(found[JOB_VARIABLE]), int(found[ATTEMPT_VARIABLE])
    except (KeyError, ValueError):
        return None


def has_mark(pid: int, variable: str, mark: str) -> bool:
    """Return whether `mark` is a word in the value of `variable` in the initial environment of a
    process."""
    return mark in read_marks(pid, variable)


def read_marks(pid: int, variable: str) -> list[str]:
    """Return the words in the value of `variable` in the initial environment of a process. Words
    are separated by blanks."""
    prefix = f"{variable}=".encode()
    environment = _read_environment(pid)
    if prefix not in environment:
        return []
    for pair in environment.split(b"\0"):
        pair = pair.removeprefix(STUB_PREFIX)
        if pair.startswith(prefix):
            return pair[len(prefix) :].decode("utf-8", "replace").split(" ")
    return []


def _read_environment(pid: int) -> bytes:
    """Return the initial environment of a process, as in /proc/PID/environ.

    The file reads as empty during exec(2). While it does, it is read repeatedly if the process is
    young and readable, so that the mark in it is not missed.
    """
    data = _read(f"/proc/{pid}/environ")
    for count in range(_ENVIRON_READS_IN_EXEC):
        if data or not _may_be_in_exec(pid):
            break
        if count >= _ENVIRON_READS and read_command_line(pid):
            break
        time.sleep(_READ_PAUSE_S)
        data = _read(f"/proc/{pid}/environ")
    return data


def _may_be_in_exec(pid: int) -> bool:
    process = read_process(pid)
    if process is None or process.is_dead or not os.access(f"/proc/{pid}/environ", os.R_OK):
        return False
    return machine_now().steady_ms - process.start_time_ms < _MAX_EXEC_AGE_MS


def read_name(pid: int) -> str:
    return _read(f"/proc/{pid}/comm").decode("utf-8", "replace").rstrip("\n")


def read_command_line(pid: int) -> bytes:
    return _read(f"/proc/{pid}/cmdline")


def _read(path: str) -> bytes:
    """Return the file's content; empty if the process is gone or reading is not permitted.

    Raises OSError if this process lacks descriptors or memory: an empty result would mean that the
    process is gone, although it may exist.
    """
    try:
        return use_file(path, os.O_RDONLY, _read_all)
    except OSError as error:
        if is_shortage(error):
            raise
        return b""


def _read_all(fd: int) -> bytes:
    parts = []
    while part := os.read(fd, 65536):
        parts.append(part)
        # Each read returns at most a page (4096 bytes), cut at the end of a line. So a read of
        # less than half a page was the last one.
        if len(part) < 2048:
            break
    return b"".join(parts)
