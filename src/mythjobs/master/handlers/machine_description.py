"""Handler of a machine's description: the labels that its agent found by running programs."""

from __future__ import annotations

from typing import Final

import msgspec

from mythjobs.master.machine import Machine
from mythjobs.master.placement.visibility import forget_hidden
from mythjobs.master.turn_context import TurnContext
from mythjobs.model.names import is_label
from mythjobs.protocol.scaling import MachineDescription, Mount
from mythjobs.store.writes import machines, readiness

_MAX_LABELS: Final = 500
_MAX_GPUS: Final = 32
_MAX_MOUNTS: Final = 100
_MAX_TEXT: Final = 200


def record_description(turn: TurnContext, machine: Machine, given: MachineDescription) -> None:
    """Store what a machine can do, if that has changed, and place waiting jobs by it.

    The description comes from another program, perhaps of a newer version: texts that are not valid
    labels are left out.
    """
    labels = sorted({each for each in given.labels if is_label(each)})[:_MAX_LABELS]
    gpus = [_clean(each) for each in given.gpus[:_MAX_GPUS]]
    mounts = [
        Mount(_clean(each.path), _clean(each.type), _clean(each.source), _clean(each.disk))
        for each in given.mounts[:_MAX_MOUNTS]
    ]
    found = MachineDescription(labels, gpus, mounts)
    if found == machine.description:
        return
    machines.set_description(turn.tx, machine.machine_id, msgspec.json.encode(found).decode())
    if mounts != machine.description.mounts:
        forget_hidden(turn, machine)
    machine.description, machine.found_labels = found, frozenset(labels)
    turn.recheck(readiness.read_ready_classes(turn.tx))


def _clean(text: str) -> str:
    return text[:_MAX_TEXT].replace("\0", "\ufffd")
