"""A machine: its clock and disk, its reapers, and an agent that comes and goes on it."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from tests.simulation.agent import Agent
from tests.simulation.disk import Disk, Log
from tests.simulation.master import Master
from tests.simulation.reaper import Json, Reaper
from tests.simulation.wire import Path
from tests.simulation.witness import Witness
from tests.simulation.world import Clock, World

# `up` starts an agent that died again, at once and then after longer and longer.
_AGAIN_MS: Final = 1000
_SETTLE_MS: Final = 400
# What is written to a local socket is read so soon.
_SOCKET_MS: Final = 2


class Machine:
    def __init__(
        self, world: World, master: Master, witness: Witness, number: int, rate: int
    ) -> None:
        self.world = world
        self.master = master
        self.witness = witness
        self.name = f"m{number}"
        self.path = Path(world)
        self.disk = Disk(world)
        self.journal: Log | None = None
        self.reapers: dict[str, Reaper] = {}
        self.agent: Agent | None = None
        self.on = True
        self._rate = rate
        self._boots = 0
        self._names = 0
        self._agents = 0
        self._down = 0  # how many faults keep the agent away
        self._boot()

    # Boots.

    def _boot(self) -> None:
        self._boots += 1
        self.boot_id = f"{self.name}-boot{self._boots}"
        # Boots begin at different instants of a steady clock.
        self.clock = Clock(self.world, self._rate, self.world.random.randrange(1, 500_000))
        self.start_agent()

    def reboot(self, off_ms: int, *, all_lost: bool = False) -> None:
        """The power is cut. Nobody is told."""
        if not self.on:
            return
        self.world.say(self.name, "POWER CUT")
        self.on = False
        self._end_agent(vanish=True)
        random = None if all_lost else self.world.random
        if self.journal is not None:
            self.journal.power_cut(random)
        for reaper in self.reapers.values():
            programs = [each.program for each in reaper.live.values() if each.program]
            reaper.killed()
            reaper.live.clear()
            reaper.journal.power_cut(random)
            for program in programs:
                program.kill()
        self.world.after(off_ms, self._power)

    def _power(self) -> None:
        self.on = True
        self._boot()
        self.world.say(self.name, f"boots as {self.boot_id}")

    # The agent.

    @property
    def minded_ms(self) -> int:
        agent = self.agent
        if agent is None or agent.adopted_ms is None or agent.stalled:
            return 0
        return self.world.now - max(agent.adopted_ms, agent.resumed_ms)

    def start_agent(self) -> None:
        if not self.on or self._down or self.agent is not None:
            return
        try:
            self._agents += 1
            self.agent = Agent(self, self._agents)
        except OSError:
            self.world.after(_AGAIN_MS, self.start_agent)
            return
        self.agent.adopt()

    def kill_agent(self, away_ms: int) -> None:
        self._down += 1
        self.world.say(self.name, "the agent is killed")
        self._end_agent()
        self.world.after(away_ms, self._back)

    def _back(self) -> None:
        self._down -= 1
        self.start_agent()

    def agent_failed(self) -> None:
        """It cannot write its journal, and ends."""
        self.world.say(self.name, "the agent's disk is full, it ends")
        self._end_agent()
        self.world.after(_AGAIN_MS, self.start_agent)

    def _end_agent(self, *, vanish: bool = False) -> None:
        agent, self.agent = self.agent, None
        for reaper in self.reapers.values():
            reaper.tell = None
        if agent is not None:
            agent.end(vanish=vanish)

    # Reapers, as an agent finds them.

    def launch(self) -> Reaper:
        self._names += 1
        name = f"{self.name}-r{self._names}"
        reaper = self.reapers[name] = Reaper(self.world, self, self.witness, self.disk, name)
        return reaper

    def kill_reaper(self) -> None:
        for reaper in self.reapers.values():
            if reaper.alive:
                self.world.say(self.name, f"{reaper.name} is killed")
                reaper.killed()
                if self.agent is not None:
                    self.agent.reaper_is_dead(reaper)
                return

    def connect(self, agent: Agent, reaper: Reaper) -> None:
        reaper.connect(partial(self._to_agent, agent, reaper))

    def _to_agent(self, agent: Agent, reaper: Reaper, messages: list[Json]) -> None:
        self.world.after(_SOCKET_MS, agent.heard_reaper, reaper, messages)

    def to_reaper(self, reaper: Reaper, messages: list[Any]) -> None:
        # It is read to its end also when who wrote it is dead.
        self.world.after(_SOCKET_MS, self._deliver, reaper, messages)

    def _deliver(self, reaper: Reaper, messages: list[Any]) -> None:
        if self.on:
            reaper.hear(messages)

    def settle_ms(self) -> int:
        return self.world.random.randrange(20, _SETTLE_MS)
