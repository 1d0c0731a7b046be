"""What machines that scale automatically report and need: footprints, and who waits for room."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

from mythjobs.master.machine import Machine
from mythjobs.master.turn_context import TurnContext
from mythjobs.protocol.scaling import FootprintRow
from mythjobs.store.writes import command_usage, commands

_MAX_FOOTPRINTS: Final = 1000
_MAX_FOOTPRINT: Final = 2000


def read_footprints(turn: TurnContext, machine: Machine) -> dict[str, FootprintRow]:
    """Return what is known of all commands, for a machine that has just connected."""
    found = command_usage.read_for_machine(turn.tx, machine.machine_id)
    machine.known_footprints = frozenset(found)
    return {name: json.loads(row) for name, row in found.items()}


def record_footprints(turn: TurnContext, machine: Machine, rows: dict[str, FootprintRow]) -> None:
    for name, row in list(rows.items())[:_MAX_FOOTPRINTS]:
        command = commands.find_by_name(turn.tx, name)
        text = json.dumps(row)
        if command is not None and len(text) <= _MAX_FOOTPRINT:
            command_usage.record(turn.tx, command.command_id, machine.machine_id, text)
            machine.known_footprints |= {name}


def find_first_guesses(
    turn: TurnContext, machine: Machine, waiting: Sequence[str]
) -> dict[str, FootprintRow]:
    """Return the footprints of waiting commands that the machine does not know yet, as learned by
    another machine. Each is sent once on a connection."""
    found: dict[str, FootprintRow] = {}
    for name in waiting:
        if name not in machine.known_footprints:
            row = command_usage.find_by_command(turn.tx, name)
            if row is not None:
                found[name] = json.loads(row)
    if found:
        machine.known_footprints |= found.keys()
    return found


def list_starving(turn: TurnContext, machine: Machine) -> list[str]:
    """Return the commands whose next job has waited long for room, longer than two of its jobs
    usually take, and has none on this machine. The machine keeps room for them."""
    found = set()
    for class_id, blocked in turn.state.placement.without_room.find_starving(turn.now.steady_ms):
        job_class = turn.catalog.job_class(turn.tx, class_id)
        typical_s = turn.state.typical_s(job_class.command_id, machine.machine_id) or 0.0
        waited_s = (turn.now.steady_ms - blocked.since_ms) / 1000
        is_permitted = turn.fits.fit(turn.state, machine, job_class).permitted
        if waited_s > 2 * typical_s and is_permitted:
            found.add(job_class.command.name)
    return sorted(found)
