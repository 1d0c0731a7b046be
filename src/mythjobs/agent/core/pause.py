"""Drain and pause of the whole machine, kept also while the master is away."""

from __future__ import annotations

from collections.abc import Iterable

from mythjobs.agent.core.attempt import AgentAttempt
from mythjobs.agent.core.attempt_table import AttemptTable
from mythjobs.agent.core.leases import LeaseEnforcer
from mythjobs.agent.core.turn import AgentTurn
from mythjobs.clock import Now
from mythjobs.model.machine_control import MACHINE_HOLDER, NO_CONTROL, MachineControl
from mythjobs.protocol import messages as m


class PauseEnforcer:
    """Part of the agent core that starts nothing while the machine is drained or paused, and
    freezes all attempts while it is paused.

    The reaper thaws them at the end of the pause by a timed action, even if no agent runs then.
    """

    def __init__(self, table: AttemptTable, turn: AgentTurn, enforcer: LeaseEnforcer) -> None:
        self._table = table
        self._turn = turn
        self._enforcer = enforcer
        self._control = NO_CONTROL

    @property
    def has_end(self) -> bool:
        return self._control.is_paused and self._control.until_ms is not None

    def restore(self, control: MachineControl) -> None:
        """Take over the state that an earlier agent has written to the journal."""
        self._set(control)

    def change(self, message: m.Control | None, now: Now) -> None:
        """Drain or pause the machine, or resume it. None, from an older master: resume."""
        control = NO_CONTROL
        if message is not None:
            control = MachineControl(message.drained, message.paused, message.until_ms)
        if control.has_ended_at(now.wall_ms):
            control = control.without_pause()
        if control != self._control:
            self._set(control)
            self._turn.record_control(control)
            self._freeze(self._table.attempts.values(), now)

    def end_if_due(self, now: Now) -> None:
        """End a pause whose time has come, by this machine's wall clock."""
        if self._control.has_ended_at(now.wall_ms):
            self._set(self._control.without_pause())
            self._turn.record_control(self._control)
            self._freeze(self._table.attempts.values(), now)

    def freeze_attempts_of(self, reaper: str, now: Now) -> None:
        """Freeze the attempts of a reaper that has just connected, if the machine is paused."""
        self.end_if_due(now)
        if self._control.is_paused:
            self._freeze(self._table.find_attempts_of(reaper), now)

    def thaw_leftover(self, attempt: AgentAttempt) -> None:
        """Thaw an attempt that an earlier agent has frozen for a pause that is over."""
        if MACHINE_HOLDER in attempt.frozen_by and not self._control.is_paused:
            self._enforcer.set_frozen(attempt.key, MACHINE_HOLDER, False)

    def _set(self, control: MachineControl) -> None:
        self._control = self._table.control = control
        self._enforcer.pause_until_ms = control.until_ms if control.is_paused else None

    def _freeze(self, attempts: Iterable[AgentAttempt], now: Now) -> None:
        """Freeze or thaw attempts, and replace the timed actions that thaw them."""
        is_paused = self._control.is_paused
        for attempt in attempts:
            holders = attempt.freeze_requests.union(attempt.frozen_by)
            if is_paused or MACHINE_HOLDER in holders:
                self._enforcer.set_frozen(attempt.key, MACHINE_HOLDER, is_paused)
                self._enforcer.send_actions(attempt, now)
