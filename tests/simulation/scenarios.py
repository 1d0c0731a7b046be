"""Scenario for each mutant of the lease rules: a few faults that show why the rule exists.

Two machines; one job of ten minutes that ignores SIGTERM, with a lease of one minute. The job
starts on machine 1 ten seconds after the start of the run.
"""

from __future__ import annotations

from typing import Any, Final

from tests.simulation.network import DOWN, UP
from tests.simulation.plan import MASTER, Fault, Plan, Step
from tests.simulation.workload import ARGV, PARAMETERS

_M1: Final = 1
_SUBMIT_MS: Final = 10_000
_CUT_UP, _CUT_DOWN = UP + 1, DOWN + 1


def _scenario(*faults: Fault, rates: tuple[int, int, int] = (1000, 1000, 1000)) -> Plan:
    command: dict[str, Any] = {
        "name": "flag", "argv": ARGV, "parameters": PARAMETERS, "silence": "rerun", "lease": "60s",
    }  # fmt: skip
    arguments = {"seconds": 600, "codes": "0", "manner": "deaf", "about": "none"}
    submit = {"command": "flag", "arguments": arguments, "subject": None, "prefer": "m1"}
    settings = {"allow": "all", "jobs": 1}
    return Plan(
        1, 2, 900_000, list(rates), [command], [settings, settings], list(faults),
        [Step(_SUBMIT_MS, "submit", submit)],
    )  # fmt: skip


# Plan, and the properties that the mutant may violate first.
SCENARIOS: Final[dict[str, tuple[Plan, tuple[str, ...]]]] = {
    # The master receives nothing after 30 s. Without a kill budget, the machine starts to end the
    # job only when all of its processes must be gone.
    "no-kill-budget": (_scenario(Fault(30_000, "cut", _M1, 300_000)), ("I10",)),
    # Responses take eight seconds. A lease counted from their arrival is eight seconds too long.
    "lease-from-arrival": (
        _scenario(
            Fault(20_000, "slow", _M1, 100_000, 4000),
            Fault(60_000, "cut", _M1, 300_000),
        ),
        ("I10",),
    ),
    # The agent is stopped with an unread grant until the job may start on another machine.
    "late-grant-accepted": (_scenario(Fault(9_900, "stall", _M1, 40_000)), ("I8",)),
    # The master restarts within a second during a cut that is shorter than the lease.
    "restart-from-disk": (
        _scenario(
            Fault(199_000, "cut", _M1, 12_000),
            Fault(200_000, "kill", MASTER, 1000),
        ),
        ("I9",),
    ),
    # The machine ends the job at lease expiry, and can report it only after attempt 2 started.
    "any-number": (_scenario(Fault(20_000, "cut", _M1, 120_000)), ("I9",)),
    # Power cut after the start of the job, before its report arrives or is synced to disk.
    "boot-ids-forgotten": (
        _scenario(
            Fault(5_000, "disk", _M1, 20_000, 2000),
            Fault(10_020, "cut", _M1, 20_000, _CUT_UP),
            Fault(10_500, "reboot", _M1, 3000, 1),
            Fault(11_000, "kill", MASTER, 2000),
        ),
        ("I8",),
    ),
    # The machine's clock has the lowest permitted rate, the master's the highest.
    "no-rate-margin": (
        _scenario(Fault(30_000, "cut", _M1, 300_000), rates=(1100, 900, 1000)),
        ("I9",),
    ),
    # The first grant is lost, the second arrives half a minute later, then the link is cut.
    "regrant-without-note": (
        _scenario(
            Fault(9_990, "cut", _M1, 25_000, _CUT_DOWN),
            Fault(44_000, "cut", _M1, 300_000),
        ),
        ("I9",),
    ),
}
