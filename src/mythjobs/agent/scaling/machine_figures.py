"""Learned figures of the machine itself, as JSON: how far the processor is overcommitted, and what
each disk serves best."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from mythjobs.agent.scaling.disk_state import DiskState


class MachineFigures(NamedTuple):
    """overcommit: factor on the cores up to which jobs are admitted. disks: by name."""

    overcommit: float
    disks: Mapping[str, DiskState]

    def to_json(self) -> dict[str, Any]:
        disks = {disk: state.to_json() for disk, state in self.disks.items()}
        return {"overcommit": round(self.overcommit, 3), "disks": disks}


def parse_machine_figures(value: Mapping[str, Any], overcommit: float) -> MachineFigures:
    """Return figures that were kept as JSON. overcommit: if they have none.

    Raises ValueError if `value` is not the result of to_json().
    """
    try:
        disks = value.get("disks", {}).items()
        return MachineFigures(
            float(value.get("overcommit", overcommit)),
            {str(disk): DiskState.from_json(each) for disk, each in disks},
        )
    except (AttributeError, TypeError) as error:
        raise ValueError(f"not a machine's figures: {error}") from None
