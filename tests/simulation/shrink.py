"""Fewer faults and less work that still break a promise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeVar

import msgspec

from tests.simulation.plan import Plan

T = TypeVar("T")
_MOST_RUNS: Final = 300


def shrink(plan: Plan, breaks: Callable[[Plan], bool]) -> Plan:
    """`breaks` runs a plan. Jobs are named by their place, so only what is done with them goes."""
    runs = 0

    def tries(smaller: Plan) -> bool:
        nonlocal runs
        runs += 1
        return runs <= _MOST_RUNS and breaks(smaller)

    faults = _fewer(plan.faults, lambda rest: tries(msgspec.structs.replace(plan, faults=rest)))
    plan = msgspec.structs.replace(plan, faults=faults)
    deeds = [each for each in plan.work if each.do != "submit"]
    submits = [each for each in plan.work if each.do == "submit"]

    def with_deeds(rest: list[T]) -> Plan:
        work = sorted([*submits, *rest], key=lambda each: each.at_ms)  # type: ignore[attr-defined]
        return msgspec.structs.replace(plan, work=work)

    return with_deeds(_fewer(deeds, lambda rest: tries(with_deeds(rest))))


def _fewer(all_: Sequence[T], breaks: Callable[[list[T]], bool]) -> list[T]:
    """Takes away halves, quarters, … and single ones as long as it still breaks."""
    left = list(all_)
    size = len(left)
    while size and left:
        place = 0
        while place < len(left):
            rest = left[:place] + left[place + size :]
            if breaks(rest):
                left = rest
            else:
                place += size
        size //= 2
    return left
