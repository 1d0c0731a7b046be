"""Simulated machine: clock, disk, reapers and an agent that stops and restarts."""

from __future__ import annotations

from functools import partial
from typing import Final

from tests.simulation.agent import SimAgent
from tests.simulation.disk import AppendOnlyFile, SimDisk
from tests.simulation.master import SimMaster
from tests.simulation.network import NetworkPath
from tests.simulation.process_table import SimProcessTable
from tests.simulation.reaper import SimReaper
from tests.simulation.safety_checker import SafetyChecker
from tests.simulation.simulator import SimClock, Simulator

# `up` restarts an agent that exited.
_AGENT_RESTART_MS: Final = 1000
_SETTLE_MS: Final = 400
# Latency of a local socket.
_SOCKET_MS: Final = 2
_NEVER_MS: Final = 2**50


class SimMachine:
    def __init__(
        self, sim: Simulator, master: SimMaster, checker: SafetyChecker, number: int, rate: int
    ) -> None:
        self.sim = sim
        self.master = master
        self.checker = checker
        self.name = f"m{number}"
        self.key = f"key of {self.name}"
        self._keys = 1
        self.path = NetworkPath(sim)
        self.disk = SimDisk(sim)
        self.journal: AppendOnlyFile | None = None
        self.reapers: dict[str, SimReaper] = {}
        self.agent: SimAgent | None = None
        self.is_powered = True
        self._is_destroyed = False
        self._rate = rate
        self._boots = 0
        self._launched_reapers = 0
        self._started_agents = 0
        self._agent_faults = 0  # active faults that keep the agent down
        self._boot()

    # Boots.

    def _boot(self) -> None:
        self._boots += 1
        self.boot_id = f"{self.name}-boot{self._boots}"
        self.processes = SimProcessTable()
        self.clock = SimClock(self.sim, self._rate, self.sim.random.randrange(1, 500_000))
        self.start_agent()

    def reboot(self, off_ms: int, *, lose_unsynced: bool = False) -> None:
        """Cut the power for `off_ms`, without closing any connection."""
        if not self.is_powered:
            return
        self.sim.trace(self.name, "power cut")
        self.is_powered = False
        self._end_agent(vanish=True)
        random = None if lose_unsynced else self.sim.random
        if self.journal is not None:
            self.journal.cut_power(random)
        for reaper in self.reapers.values():
            reaper.kill()
            reaper.kill_programs()
        self.disk.files.cut_power(random)
        self.sim.call_later(off_ms, self._power_on)

    def destroy(self) -> None:
        """Cut the power for ever."""
        if self.is_powered:
            self.reboot(_NEVER_MS)
        self._is_destroyed = True

    def _power_on(self) -> None:
        if self._is_destroyed:
            return
        self.is_powered = True
        self._boot()
        self.sim.trace(self.name, f"boots as {self.boot_id}")

    # The agent.

    @property
    def supervised_ms(self) -> int:
        agent = self.agent
        if agent is None or agent.recovered_ms is None or agent.stalls:
            return 0
        return self.sim.now_ms - max(agent.recovered_ms, agent.resumed_ms)

    def start_agent(self) -> None:
        if not self.is_powered or self._agent_faults or self.agent is not None:
            return
        try:
            self._started_agents += 1
            self.agent = SimAgent(self, self._started_agents)
        except OSError:
            self.sim.call_later(_AGENT_RESTART_MS, self.start_agent)
            return
        self.agent.connect_reapers()

    def kill_agent(self, down_ms: int) -> None:
        self._agent_faults += 1
        self.sim.trace(self.name, "agent is killed")
        self._end_agent()
        self.sim.call_later(down_ms, self._end_agent_fault)

    def _end_agent_fault(self) -> None:
        self._agent_faults -= 1
        self.start_agent()

    def renew_key(self) -> None:
        """Remove the key and join again: the agent restarts with a new one."""
        self._keys += 1
        self.key = f"key {self._keys} of {self.name}"
        self.kill_agent(_AGENT_RESTART_MS)

    @property
    def is_idle(self) -> bool:
        """Whether no program runs here."""
        return not any(machine is self for machine, _ in self.checker.running.values())

    def exit_agent(self) -> None:
        """Exit of an agent that cannot write its journal."""
        self.sim.count("agents that exited")
        self.sim.trace(self.name, "agent exits: it cannot write its journal")
        self._end_agent()
        self.sim.call_later(_AGENT_RESTART_MS, self.start_agent)

    def _end_agent(self, *, vanish: bool = False) -> None:
        agent, self.agent = self.agent, None
        for reaper in self.reapers.values():
            reaper.send_to_agent = None
        if agent is not None:
            agent.end(vanish=vanish)

    # Reapers, as the agent sees them.

    def launch_reaper(self) -> SimReaper:
        """Raises OSError."""
        self._launched_reapers += 1
        name = f"{self.name}-r{self._launched_reapers}"
        reaper = self.reapers[name] = SimReaper(self, self.checker, name)
        return reaper

    def forget_reaper(self, reaper: SimReaper) -> None:
        """A reaper has exited and removed its directory."""
        self.reapers.pop(reaper.name, None)
        if self.agent is not None:
            self.agent.on_reaper_exit(reaper)

    def kill_reaper(self) -> None:
        for reaper in self.reapers.values():
            if reaper.is_alive:
                self.sim.trace(self.name, f"{reaper.name} is killed")
                reaper.kill()
                if self.agent is not None:
                    self.agent.on_reaper_death(reaper)
                return

    def connect_reaper(self, agent: SimAgent, reaper: SimReaper) -> None:
        reaper.accept_agent(partial(self._send_to_agent, agent, reaper))

    def _send_to_agent(self, agent: SimAgent, reaper: SimReaper, line: bytes) -> None:
        self.sim.call_later(_SOCKET_MS, agent.on_reaper_line, reaper, line)

    def send_to_reaper(self, reaper: SimReaper, line: bytes) -> None:
        # The reaper reads buffered messages even after the death of the agent.
        self.sim.call_later(_SOCKET_MS, self._deliver_to_reaper, reaper, line)

    def _deliver_to_reaper(self, reaper: SimReaper, line: bytes) -> None:
        if self.is_powered:
            reaper.on_line(line)

    def draw_settle_ms(self) -> int:
        return self.sim.random.randrange(20, _SETTLE_MS)
