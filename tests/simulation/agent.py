"""An agent around the real core: what agent/service.py and agent/reaper_client.py wait for."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec

from mythjobs.agent import journal as journals
from mythjobs.agent.core.core import AgentCore
from mythjobs.agent.core.outcome import MACHINE_RESTARTED, LostAttempt
from mythjobs.agent.core.turn import Action, RemoveReaper, SendToReaper, WriteJournal
from tests.simulation.agentlink import AgentLink
from tests.simulation.disk import Log
from tests.simulation.reaper import Json, Reaper

if TYPE_CHECKING:
    from tests.simulation.machine import Machine

_CHECK_MS: Final = 1000
_LAUNCH_MS: Final = 60


class Agent:
    """From its start to its death; a stopped one (SIGSTOP) does all it missed when it goes on."""

    def __init__(self, machine: Machine, number: int) -> None:
        """Raises OSError if its journal cannot be written."""
        self.number = number
        self.machine = machine
        self.world = machine.world
        self.alive = True
        self.adopted_ms: int | None = None
        self.resumed_ms = 0
        self.stalled = 0
        self._backlog: list[tuple[Callable[..., None], tuple[Any, ...]]] = []
        self.core = AgentCore({})
        if machine.journal is not None:
            path = cast(Any, machine.journal)
            self.core.restore(journals.read_journal(path, machine.boot_id))
        if machine.disk.full:
            raise OSError("no room for a journal")
        boot_id = machine.boot_id
        machine.journal = Log(
            machine.disk, journals.encode_journal(self.core.take_snapshot(), boot_id)
        )
        self._journal = machine.journal
        self._token = 0
        self._syncing = False
        self._checking = False
        self._unheard: set[str] = set()
        self._launching = False
        self.link = AgentLink(self)

    # Waiting, as its event loop does it.

    def later(self, delay_ms: int, do: Callable[..., None], *args: Any) -> None:
        """After so long by its own clock."""
        self.world.after(self.machine.clock.true(delay_ms), self.run, do, *args)

    def run(self, do: Callable[..., None], *args: Any) -> None:
        """Now, or when it goes on, or never."""
        if not self.alive:
            return
        if self.stalled:
            self._backlog.append((do, args))
        else:
            do(*args)

    def stall(self, for_ms: int) -> None:
        self.world.say(self.machine.name, f"the agent stands still for {for_ms / 1000} s")
        self.stalled += 1
        self.world.after(for_ms, self._resume)

    def _resume(self) -> None:
        self.stalled -= 1
        if self.stalled or not self.alive:
            return
        self.resumed_ms = self.world.now
        backlog, self._backlog = self._backlog, []
        for do, args in backlog:
            self.run(do, *args)

    def end(self, *, vanish: bool) -> None:
        self.alive = False
        self.link.end(vanish=vanish)

    # Reapers.

    def adopt(self) -> None:
        machine = self.machine
        self._unheard = set(machine.reapers)
        for reaper in list(machine.reapers.values()):
            if reaper.alive:
                machine.connect(self, reaper)
            else:
                self.reaper_is_dead(reaper)
        self._adopted_if_all()

    def _adopted_if_all(self) -> None:
        if self._unheard or self.adopted_ms is not None:
            return
        self.adopted_ms = self.world.now
        self.carry_out(self.core.finish_recovery(self.machine.clock.now()))
        self._have_reaper()
        self.link.keep()

    def _have_reaper(self) -> None:
        """Always one for new starts."""
        living = next((each for each in self.machine.reapers.values() if each.alive), None)
        if living is not None:
            self.carry_out(self.core.set_start_reaper(living.name, self.machine.clock.now()))
        elif not self._launching:
            self._launching = True
            self.later(_LAUNCH_MS, self._launch)

    def _launch(self) -> None:
        self._launching = False
        self.machine.connect(self, self.machine.launch())

    def heard_reaper(self, reaper: Reaper, messages: list[Json]) -> None:
        self.run(self._heard_reaper, reaper, messages)

    def _heard_reaper(self, reaper: Reaper, messages: list[Json]) -> None:
        now = self.machine.clock.now()
        decoded = _sent(messages)
        if decoded[0]["type"] == "hello":
            hello = decoded.pop(0)
            self.carry_out(
                self.core.on_reaper_hello(reaper.name, hello["attempts"], reaper.starting(), now)
            )
            self.carry_out(self.core.on_reaper_messages(reaper.name, decoded, now))
            self._unheard.discard(reaper.name)
            if self.adopted_ms is None:
                self._adopted_if_all()
            else:
                self._have_reaper()
        else:
            self.carry_out(self.core.on_reaper_messages(reaper.name, decoded, now))

    def reaper_is_dead(self, reaper: Reaper) -> None:
        self.later(self.machine.settle_ms(), self._settle, reaper)

    def _settle(self, reaper: Reaper) -> None:
        ended, opened = reaper.settle()
        rebooted = reaper.boot_id != self.machine.boot_id
        why = (MACHINE_RESTARTED,) if rebooted else ()
        left = [LostAttempt(key, at_ms, [], "session", *why) for key, at_ms in opened.items()]
        now = self.machine.clock.now()
        self.carry_out(self.core.on_reaper_death(reaper.name, ended, left, now))
        self._unheard.discard(reaper.name)
        if self.adopted_ms is None:
            self._adopted_if_all()
        else:
            self._have_reaper()

    # What the core asks for.

    def carry_out(self, actions: Sequence[Action]) -> None:
        for action in actions:
            match action:
                case SendToReaper():
                    messages = _sent(action.messages)
                    if (reaper := self.machine.reapers.get(action.reaper)) is not None:
                        self.machine.to_reaper(reaper, messages)
                case WriteJournal():
                    if not self._write(action):
                        return
                case RemoveReaper():
                    self.machine.reapers.pop(action.reaper, None)
                case _:
                    pass  # of output there is none here
        self.link.wake()
        if not self._checking and self.core.has_deadlines:
            self._checking = True
            self.later(_CHECK_MS, self._check)

    def _check(self) -> None:
        self._checking = False
        self.carry_out(self.core.check_deadlines(self.machine.clock.now()))

    def _write(self, action: WriteJournal) -> bool:
        try:
            self._journal.append(json.dumps(action.record).encode() + b"\n")
        except OSError:
            self.machine.agent_failed()
            return False
        self._token = action.token
        if not self._syncing:
            self._sync()
        return True

    def _sync(self) -> None:
        self._syncing = True
        token = self._token
        self._journal.sync(lambda: self.run(self._durable, token))

    def _durable(self, token: int) -> None:
        if self._token > token:
            self._sync()
        else:
            self._syncing = False
        self.carry_out(self.core.on_journal_synced(token, self.machine.clock.now()))


def _sent(messages: Sequence[Any]) -> list[Any]:
    """As who reads them at the other end of a socket has them."""
    return cast(list[Any], msgspec.json.decode(msgspec.json.encode(messages)))
