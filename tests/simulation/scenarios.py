"""For each mutant of the lease rules a story that shows why the rule is there.

Two machines, one job of ten minutes that does not hear TERM, a lease of a minute. The job begins
on the first machine ten seconds after everything did.
"""

from __future__ import annotations

from typing import Any, Final

from tests.simulation.plan import MASTER, Fault, Plan, Step
from tests.simulation.wire import DOWN, UP
from tests.simulation.work import ARGV, PARAMETERS

_M1: Final = 1
_BEGINS_MS: Final = 10_000
_CUT_UP, _CUT_DOWN = UP + 1, DOWN + 1


def _story(
    *faults: Fault, rates: tuple[int, int, int] = (1000, 1000, 1000), seconds: int = 600
) -> Plan:
    command: dict[str, Any] = {
        "name": "flag", "argv": ARGV, "parameters": PARAMETERS, "silence": "rerun", "lease": "60s",
    }  # fmt: skip
    arguments = {"seconds": seconds, "codes": "0", "manner": "deaf", "about": "none"}
    submit = {"command": "flag", "arguments": arguments, "subject": None, "prefer": "m1"}
    settings = {"allow": "all", "jobs": 1}
    return Plan(
        1, 2, 900_000, list(rates), [command], [settings, settings], list(faults),
        [Step(_BEGINS_MS, "submit", submit)],
    )  # fmt: skip


# The plan, and which of the promises its mutant may break first.
SCENARIOS: Final[dict[str, tuple[Plan, tuple[str, ...]]]] = {
    # The master hears nothing from 30 s on. Without a budget the machine only begins to end the
    # job when nothing of it may live any more.
    "no-kill-budget": (_story(Fault(30_000, "cut", _M1, 300_000)), ("I10",)),
    # Answers take eight seconds. Who counts from their arrival keeps the job eight too long.
    "lease-from-arrival": (
        _story(
            Fault(20_000, "slow", _M1, 100_000, 4000),
            Fault(60_000, "cut", _M1, 300_000),
        ),
        ("I10",),
    ),
    # The agent stands still with the grant before it, until another machine may have the job.
    "late-grant-accepted": (_story(Fault(9_900, "stall", _M1, 40_000)), ("I8",)),
    # While the master is away for a second it cannot hear the machine, which is well.
    "restart-from-disk": (
        _story(
            Fault(199_000, "cut", _M1, 12_000),
            Fault(200_000, "kill", MASTER, 1000),
        ),
        ("I9",),
    ),
    # The machine ends the job for its lease and can say so only when it runs elsewhere.
    "any-number": (_story(Fault(20_000, "cut", _M1, 120_000)), ("I9",)),
    # The job begins, and before anybody hears of it, or the disk has it, the power is cut.
    "boot-ids-forgotten": (
        _story(
            Fault(5_000, "disk", _M1, 20_000, 2000),
            Fault(10_020, "cut", _M1, 20_000, _CUT_UP),
            Fault(10_500, "reboot", _M1, 3000, 1),
            Fault(11_000, "kill", MASTER, 2000),
        ),
        ("I8",),
    ),
    # The machine's clock is as slow as it may be, the master's as fast.
    "no-rate-margin": (
        _story(Fault(30_000, "cut", _M1, 300_000), rates=(1100, 900, 1000)),
        ("I9",),
    ),
    # The first grant never arrives. The second does, half a minute later, and then nothing more.
    "regrant-without-note": (
        _story(
            Fault(9_990, "cut", _M1, 25_000, _CUT_DOWN),
            Fault(44_000, "cut", _M1, 300_000),
        ),
        ("I9",),
    ),
}
