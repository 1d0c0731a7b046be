"""Simulated agent: the real core, with models of agent/service.py and agent/reaper_pool.py."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from mythjobs.agent import journal as journals
from mythjobs.agent.core.core import AgentCore
from mythjobs.agent.core.outcome import MACHINE_RESTARTED, LostAttempt
from mythjobs.agent.core.turn import Action, Json, RemoveReaper, SendToReaper, WriteJournal
from mythjobs.agent.reaper_connection import decode_messages, encode_messages
from mythjobs.process.record_log import parse_records
from tests.simulation.agent_link import SimAgentLink
from tests.simulation.disk import AppendOnlyFile
from tests.simulation.reaper import SimReaper

if TYPE_CHECKING:
    from tests.simulation.machine import SimMachine

_CHECK_MS: Final = 1000
_LAUNCH_MS: Final = 60
_LAUNCH_RETRY_MS: Final = 1000
# As in agent/journal.py. Agents are killed meanwhile, too.
_GATHER_MS: Final = 50


class SimAgent:
    """One agent process. While stalled (SIGSTOP) it queues all calls, and runs them on resume."""

    def __init__(self, machine: SimMachine, number: int) -> None:
        """Raises OSError if the journal cannot be written."""
        self.number = number
        self.machine = machine
        self.sim = machine.sim
        self.is_alive = True
        self.recovered_ms: int | None = None
        self.resumed_ms = 0
        self.stalls = 0  # active faults that stop the process
        self._stalled_calls: list[tuple[Callable[..., None], tuple[Any, ...]]] = []
        self.core = AgentCore({})
        if machine.journal is not None:
            records = parse_records(machine.journal.read_bytes().split(b"\n"))
            self.core.restore(journals.replay_records(records, machine.boot_id))
        machine.disk.check_write()
        machine.disk.check_sync()
        boot_id = machine.boot_id
        machine.journal = AppendOnlyFile(
            machine.disk, journals.encode_journal(self.core.take_snapshot(), boot_id)
        )
        self._journal = machine.journal
        # Records that are not written yet, and the token of the last one. They are lost if the
        # agent is killed.
        self._records: list[Json] = []
        self._token = 0
        self._unsynced_token = 0
        self._is_syncing = False
        self._is_check_scheduled = False
        self._unsettled_reapers: set[str] = set()
        self._is_launching = False
        self.link = SimAgentLink(self)

    # Event loop.

    def call_later(self, delay_ms: int, function: Callable[..., None], *args: Any) -> None:
        """`delay_ms` is measured by the machine's clock."""
        self.sim.call_later(self.machine.clock.to_simulated_ms(delay_ms), self.run, function, *args)

    def run(self, function: Callable[..., None], *args: Any) -> None:
        """Call `function` now, on resume while stalled, or never after the process has ended."""
        if not self.is_alive:
            return
        if self.stalls:
            self._stalled_calls.append((function, args))
        else:
            function(*args)

    def stall(self, duration_ms: int) -> None:
        self.sim.trace(self.machine.name, f"agent is stopped for {duration_ms / 1000} s")
        self.stalls += 1
        self.sim.call_later(duration_ms, self._resume)

    def _resume(self) -> None:
        self.stalls -= 1
        if self.stalls or not self.is_alive:
            return
        self.resumed_ms = self.sim.now_ms
        calls, self._stalled_calls = self._stalled_calls, []
        for function, args in calls:
            self.run(function, *args)

    def end(self, *, vanish: bool) -> None:
        self.is_alive = False
        self.link.end(vanish=vanish)

    # Reapers.

    def connect_reapers(self) -> None:
        """Connect to the reapers of earlier agents. Recovery ends when all of them are settled."""
        machine = self.machine
        self._unsettled_reapers = set(machine.reapers)
        for reaper in list(machine.reapers.values()):
            if reaper.is_alive:
                machine.connect_reaper(self, reaper)
            else:
                self.on_reaper_death(reaper)
        self._finish_recovery_if_settled()

    def _finish_recovery_if_settled(self) -> None:
        if self._unsettled_reapers or self.recovered_ms is not None:
            return
        self.recovered_ms = self.sim.now_ms
        self.execute(self.core.finish_recovery(self.machine.clock.now()))
        self._ensure_start_reaper()
        self.link.connect()

    def _ensure_start_reaper(self) -> None:
        """Use a living reaper for new attempts, or launch one."""
        living = next((each for each in self.machine.reapers.values() if each.is_alive), None)
        if living is not None:
            self.execute(self.core.set_start_reaper(living.name, self.machine.clock.now()))
        elif not self._is_launching:
            self._is_launching = True
            self.call_later(_LAUNCH_MS, self._launch)

    def _launch(self) -> None:
        try:
            reaper = self.machine.launch_reaper()
        except OSError:
            self.call_later(_LAUNCH_RETRY_MS, self._launch)
            return
        self._is_launching = False
        self.machine.connect_reaper(self, reaper)

    def on_reaper_line(self, reaper: SimReaper, line: bytes) -> None:
        self.run(self._handle_reaper_messages, reaper, line)

    def _handle_reaper_messages(self, reaper: SimReaper, line: bytes) -> None:
        now = self.machine.clock.now()
        messages = decode_messages(line)
        if messages[0]["type"] == "hello":
            hello = messages.pop(0)
            starting = {(job, n) for job, n in hello["starting"]}
            self.execute(self.core.on_reaper_hello(reaper.name, hello["attempts"], starting, now))
            self.execute(self.core.on_reaper_messages(reaper.name, messages, now))
            self._mark_settled(reaper)
        else:
            self.execute(self.core.on_reaper_messages(reaper.name, messages, now))

    def on_reaper_exit(self, reaper: SimReaper) -> None:
        """A reaper has exited and removed its directory, so its journal is empty."""
        self.run(self._forget, reaper)

    def _forget(self, reaper: SimReaper) -> None:
        self.execute(self.core.on_reaper_death(reaper.name, [], [], self.machine.clock.now()))
        self._mark_settled(reaper)

    def on_reaper_death(self, reaper: SimReaper) -> None:
        self.call_later(self.machine.draw_settle_ms(), self._settle, reaper)

    def _settle(self, reaper: SimReaper) -> None:
        """End the processes of a dead reaper, and report its attempts as ended or lost."""
        ended, unfinished = reaper.settle()
        rebooted = reaper.boot_id != self.machine.boot_id
        reason = (MACHINE_RESTARTED,) if rebooted else ()
        lost = [
            LostAttempt(key, at_ms, [], "session", *reason) for key, at_ms in unfinished.items()
        ]
        now = self.machine.clock.now()
        self.execute(self.core.on_reaper_death(reaper.name, ended, lost, now))
        self._mark_settled(reaper)

    def _mark_settled(self, reaper: SimReaper) -> None:
        self._unsettled_reapers.discard(reaper.name)
        if self.recovered_ms is None:
            self._finish_recovery_if_settled()
        else:
            self._ensure_start_reaper()

    # Actions of the core.

    def execute(self, actions: Sequence[Action]) -> None:
        for action in actions:
            match action:
                case SendToReaper():
                    line = encode_messages(action.messages)
                    if (reaper := self.machine.reapers.get(action.reaper)) is not None:
                        self.machine.send_to_reaper(reaper, line)
                case WriteJournal():
                    self._records.append(action.record)
                    self._token = action.token
                    if action.is_urgent or len(self._records) == 1:
                        self.call_later(0 if action.is_urgent else _GATHER_MS, self._write)
                case RemoveReaper():
                    if (reaper := self.machine.reapers.pop(action.reaper, None)) is not None:
                        self.machine.disk.files.remove(reaper.journal_path)
                case _:
                    pass  # actions on output, which is not simulated
        self.link.send_frames()
        if not self._is_check_scheduled and self.core.has_deadlines:
            self._is_check_scheduled = True
            self.call_later(_CHECK_MS, self._check)

    def _check(self) -> None:
        self._is_check_scheduled = False
        self.execute(self.core.check_deadlines(self.machine.clock.now()))

    def _write(self) -> None:
        """Write the gathered records, in the thread of the journal, and sync them."""
        records, self._records = self._records, []
        token = self._token
        if not records:
            return
        try:
            for each in records:
                self._journal.append(json.dumps(each).encode() + b"\n")
        except OSError:
            self.machine.exit_agent()
            return
        self.execute(self.core.on_journal_written(token, self.machine.clock.now()))
        self._unsynced_token = token
        if not self._is_syncing:
            self._sync()

    def _sync(self) -> None:
        self._is_syncing = True
        token = self._unsynced_token
        self._journal.sync(lambda error: self.run(self._synced, token, error))

    def _synced(self, token: int, error: OSError | None) -> None:
        if error is not None:
            self.machine.exit_agent()
            return
        if self._unsynced_token > token:
            self._sync()
        else:
            self._is_syncing = False
        self.core.on_journal_synced(token)
        self.link.send_frames()
