"""Drain and pause of machines: what is stored and sent, and the ends of pauses."""

from __future__ import annotations

from mythjobs.master.machine import Machine
from mythjobs.master.turn_context import TurnContext
from mythjobs.model.machine_control import MACHINE_HOLDER, MachineControl
from mythjobs.protocol import messages as m
from mythjobs.store.writes import machines, readiness


def end_pauses(turn: TurnContext) -> None:
    """End the pauses whose time has come."""
    for machine in list(turn.state.machines.values()):
        if machine.control.has_ended_at(turn.now.wall_ms):
            set_control(turn, machine, machine.control.without_pause())


def encode_control(control: MachineControl) -> m.Control:
    return m.Control(control.is_drained, control.is_paused, control.until_ms)


def set_control(turn: TurnContext, machine: Machine, control: MachineControl) -> None:
    """Store that a machine is drained or paused, and tell its agent."""
    machines.set_control(turn.tx, machine.machine_id, control)
    machine = turn.state.open_machine(machine.machine_id)
    machine.control = control
    if control.is_paused and control.until_ms is not None:
        turn.state.schedule_turn(control.until_ms)
    if machine.connection is not None:
        turn.send(machine, m.Settings(machine.max_jobs, encode_control(control)))
        if not control.is_paused and "pause" not in machine.capabilities:
            _thaw_jobs(turn, machine)
    turn.recheck(readiness.read_ready_classes(turn.tx))


def _thaw_jobs(turn: TurnContext, machine: Machine) -> None:
    # The agent was replaced by an older one, while its reaper keeps jobs frozen for the pause.
    for job_id, attempt in machine.live_attempts.items():
        if MACHINE_HOLDER in attempt.frozen_by:
            turn.send(machine, m.Freeze(job_id, attempt.n, MACHINE_HOLDER, False))
