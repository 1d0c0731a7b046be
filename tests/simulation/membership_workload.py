"""Machines that are renamed, or revoked and join again, while jobs run."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Final

from tests.simulation.plan import Fault, Step

_SHARE: Final = 0.2
_NAMES: Final = ("attic", "cellar", "shed")


def generate_membership_changes(
    seed: int, machines: int, calm_ms: int, faults: Sequence[Fault]
) -> list[Step]:
    """Return renames, and revocations of machines that join again, in a share of the plans."""
    random = Random(f"membership {seed}")  # of its own: other draws stay what they were
    if random.random() > _SHARE:
        return []
    steps = []
    for name in _NAMES[: random.randrange(len(_NAMES))]:
        number = random.randint(1, machines)
        at_ms = random.randrange(20_000, calm_ms * 3 // 4)
        steps.append(Step(at_ms, "rename", {"name": f"m{number}", "new": name}))
        if random.random() < 0.5:
            back = {"name": f"m{number}", "new": f"m{number}"}
            steps.append(Step(at_ms + random.randrange(1000, 900_000), "rename", back))
    dead = {each.target for each in faults if each.kind == "dead"}
    for number in {random.randint(1, machines) for _ in range(2)} - dead:
        at_ms = random.randrange(20_000, calm_ms // 2)
        rejoin_s = random.choice((1, 20, 120, 1200))
        steps.append(Step(at_ms, "revoke", {"name": f"m{number}", "rejoin_s": rejoin_s}))
    return steps
