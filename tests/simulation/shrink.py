"""Shrinking of a plan: remove faults and user actions while a violation persists."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeVar

import msgspec

from tests.simulation.plan import Fault, Plan, Step

T = TypeVar("T")
_MAX_RUNS: Final = 300


def shrink(plan: Plan, has_violation: Callable[[Plan], bool]) -> Plan:
    """Return a smaller plan. `has_violation` runs a plan.

    Submits are kept: other steps name jobs by the index of their submit.
    """
    runs = 0

    def is_enough(smaller: Plan) -> bool:
        nonlocal runs
        runs += 1
        return runs <= _MAX_RUNS and has_violation(smaller)

    def with_faults(faults: list[Fault]) -> Plan:
        return msgspec.structs.replace(plan, faults=faults)

    plan = with_faults(_remove(plan.faults, lambda rest: is_enough(with_faults(rest))))
    submits = [each for each in plan.work if each.action == "submit"]
    others = [each for each in plan.work if each.action != "submit"]

    def with_others(rest: list[Step]) -> Plan:
        work = sorted([*submits, *rest], key=lambda each: each.at_ms)
        return msgspec.structs.replace(plan, work=work)

    return with_others(_remove(others, lambda rest: is_enough(with_others(rest))))


def _remove(items: Sequence[T], is_enough: Callable[[list[T]], bool]) -> list[T]:
    """Remove halves, quarters, …, and single items as long as the rest is enough."""
    kept = list(items)
    size = len(kept)
    while size and kept:
        start = 0
        while start < len(kept):
            rest = kept[:start] + kept[start + size :]
            if is_enough(rest):
                kept = rest
            else:
                start += size
        size //= 2
    return kept
