"""Footprints of commands: reported by the machines, and first guesses for other machines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

from mythjobs.master.state import Machine
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
