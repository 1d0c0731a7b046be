"""Simulated reaper process: the real server, attempts and journal on a simulated host."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from mythjobs.process.reaper.attempt import AttemptDirectories, ReaperAttempt
from mythjobs.process.reaper.journal import parse_journal
from mythjobs.process.reaper.recovery import find_leftovers
from mythjobs.process.reaper.server import Reaper
from tests.simulation.program import Key, Program
from tests.simulation.reaper_host import SimAgentSocket, SimReaperHost, SimReaperLoop
from tests.simulation.safety_checker import SafetyChecker
from tests.simulation.simulator import ScheduledCall, Simulator

if TYPE_CHECKING:
    from tests.simulation.machine import SimMachine

_DIRECTORIES: Final = AttemptDirectories("/output", "/scratch", "/run", -1, 0o22)


class _Reaper(Reaper):
    """The parts of the real reaper that its loop, `run`, would use."""

    loop: SimReaperLoop
    _agent: SimAgentSocket

    def accept(self) -> None:
        self._agent.accept()

    def receive(self, line: bytes) -> None:
        self._agent.receive(line)

    def end_turn(self) -> None:
        self._end_turn()

    @property
    def has_finished(self) -> bool:
        return self._should_exit()


class SimReaper:
    """One process. send_to_agent: None while no agent is connected."""

    def __init__(self, machine: SimMachine, checker: SafetyChecker, name: str) -> None:
        """Raises OSError if the journal cannot be created."""
        self.name = name
        self.sim: Simulator = machine.sim
        self.is_alive = True
        self.boot_id = machine.boot_id
        self.clock = machine.clock
        self.disk = machine.disk
        self.journal_path = f"/reapers/{name}/journal"
        self.programs: dict[Key, Program] = {}
        self.send_to_agent: Callable[[bytes], None] | None = None
        self._machine = machine
        self._checker = checker
        self._is_turn_ending = False
        self._server = _Reaper(f"/reapers/{name}", "", _DIRECTORIES, SimReaperHost(self))

    @property
    def loop(self) -> SimReaperLoop:
        return self._server.loop

    def trace(self, text: str) -> None:
        self.sim.trace(self._machine.name, text)

    # The process's time: nothing happens after its death.

    def call_later(self, delay_ms: int, function: Callable[..., object], *args: Any) -> None:
        """`delay_ms` is measured by the simulation: these are delays of the machine's kernel."""
        self.sim.call_later(delay_ms, self._run, function, *args)

    def call_at_steady(
        self, steady_ms: int, function: Callable[..., object], *args: Any
    ) -> ScheduledCall:
        return self.sim.call_at(self.clock.time_of_steady(steady_ms), self._run, function, *args)

    def _run(self, function: Callable[..., object], *args: Any) -> None:
        if self.is_alive:
            function(*args)

    def end_turn(self) -> None:
        self._server.end_turn()
        if self._server.has_finished:
            self.trace(f"{self.name} exits: it has nothing to do")
            self.remove_directory()

    def remove_directory(self) -> None:
        """End the process, and leave nothing behind."""
        self.is_alive = False
        self.disk.files.remove(self.journal_path)
        self._machine.forget_reaper(self)

    # The agent's connection.

    def accept_agent(self, send: Callable[[bytes], None]) -> None:
        self.send_to_agent = send
        self.loop.iterate(self._server.accept)

    def on_line(self, line: bytes) -> None:
        if self.is_alive:
            self.loop.iterate(partial(self._server.receive, line))

    # Programs.

    def start_program(self, attempt: ReaperAttempt, on_exit: Callable[[], None]) -> int:
        """Start the program of an attempt; return its pid."""
        self.trace(f"{attempt.key} starts: {' '.join(attempt.argv)}")
        program = Program(
            self.sim, attempt.key, attempt.argv, partial(self._on_exit, attempt.key, on_exit)
        )
        self.programs[attempt.key] = program
        self._checker.on_start(self._machine, program)
        return self._machine.processes.add(program, self.clock.steady_ms())

    def _on_exit(self, key: Key, on_exit: Callable[[], None], program: Program) -> None:
        self.trace(f"{key} exited: {program.outcome}")
        self._checker.on_exit(program, program.outcome)
        if self.is_alive:
            on_exit()

    # Death of the reaper.

    def kill(self) -> None:
        """Kill the reaper. Its programs keep running without supervision."""
        self.is_alive = False
        self.send_to_agent = None
        for program in self.programs.values():
            if not program.has_exited:
                program.orphaned_ms = self.sim.now_ms

    def kill_programs(self) -> None:
        for program in list(self.programs.values()):
            program.kill()

    def settle(self) -> tuple[list[Any], Mapping[Key, int | None]]:
        """Kill the programs that a dead reaper has left, then return what its journal says.

        The result is the ends, and the start times of attempts without an end.
        """
        self.disk.files.sync(self.journal_path)
        records = parse_journal(self.disk.files.read(self.journal_path).split(b"\n"))
        processes = self._machine.processes
        if self.boot_id == self._machine.boot_id:
            found = list(find_leftovers(records.unfinished, 0, processes))
            for key, process in found:
                program = processes.find_program(process.pid)
                if program.key != key:
                    text = f"{program.key} is killed as a leftover of {key}"
                    self.sim.report_violation("LEFTOVER", text)
                program.kill()
        unfinished = {
            key: each.started_ms if each else None for key, each in records.unfinished.items()
        }
        return list(records.ended.values()), unfinished
