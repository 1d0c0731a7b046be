"""Simulated processes of a machine, as /proc shows them. Pids are reused soon."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from mythjobs.process.procfs import ProcessInfo
from tests.simulation.program import Key, Program

_FIRST_PID: Final = 100
# So few that pids of ended programs are used again while a journal still names them.
_PIDS: Final = 8
_INIT: Final = 1


class _Process(NamedTuple):
    program: Program
    born_ms: int  # on the machine's steady clock


class SimProcessTable:
    """A ProcessTable for the recovery of dead reapers."""

    def __init__(self) -> None:
        self._processes: dict[int, _Process] = {}
        self._last_pid = _FIRST_PID

    def add(self, program: Program, born_ms: int) -> int:
        """Return the pid of a program that has just started."""
        self._remove_exited()
        while self._last_pid in self._processes:
            self._last_pid += 1
        pid = self._last_pid
        self._processes[pid] = _Process(program, born_ms)
        self._last_pid = pid + 1 if pid < _FIRST_PID + _PIDS else _FIRST_PID
        return pid

    def _remove_exited(self) -> None:
        for pid in [pid for pid, each in self._processes.items() if each.program.has_exited]:
            del self._processes[pid]

    def find_program(self, pid: int) -> Program:
        return self._processes[pid].program

    # What /proc shows.

    def list_processes(self) -> Iterator[ProcessInfo]:
        self._remove_exited()
        for pid, each in self._processes.items():
            # Programs of all reapers count as adopted by process 1: those of a dead one are, and
            # those of a living one have other attempts.
            yield ProcessInfo(pid, "S", _INIT, pid, each.born_ms)

    def read_attempt_mark(self, pid: int, /) -> Key | None:
        found = self._processes.get(pid)
        return found.program.key if found else None

    def read_command_line(self, pid: int, /) -> bytes:
        return b"work"
