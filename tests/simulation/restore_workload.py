"""Backups of the store that are restored minutes later, while machines run newer attempts."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Final

from tests.simulation.plan import MASTER, Fault, Step

_SHARE: Final = 0.12


def generate_restore(
    seed: int, calm_ms: int, faults: Sequence[Fault], work: Sequence[Step]
) -> list[Fault]:
    """Return a backup and its restore, in a share of the plans.

    Only stores in memory can be restored. A machine that has joined again since the backup would
    have to be invited once more, which users here do not do.
    """
    random = Random(f"restore {seed}")  # of its own: other draws stay what they were
    has_disk = any(each.target == MASTER and each.kind in ("reboot", "fsync") for each in faults)
    if has_disk or any(each.action == "revoke" for each in work) or random.random() > _SHARE:
        return []
    # Shortly before or after the submit of a job, when the most can be lost.
    submits_ms = [each.at_ms for each in work if each.action == "submit"]
    at_ms = max(10_000, random.choice(submits_ms) + random.randrange(-20_000, 60_000))
    restored_ms = at_ms + random.choice((20_000, 120_000, calm_ms // 4))
    restored_ms -= random.randrange(15_000)
    down_ms = random.randrange(500, 60_000)
    return [
        Fault(at_ms, "backup", MASTER),
        Fault(restored_ms, "restore", MASTER, down_ms, random.randrange(2)),
    ]
