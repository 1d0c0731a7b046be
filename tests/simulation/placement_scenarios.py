"""Scenario for each mutant of the rules of placement: a few jobs that show why the rule exists."""

from __future__ import annotations

from typing import Any, Final

from tests.simulation.plan import Fault, Plan, Step
from tests.simulation.scale import PARAMETERS
from tests.simulation.simulator import NOON_MS
from tests.simulation.workload import ARGV

Table = dict[str, Any]
Scenario = tuple[Plan, tuple[str, ...]]

_CALM_MS: Final = 1_800_000
OPEN: Final = {"allow": "all", "jobs": 4}
# 2026-10-25, 00:50 UTC: 02:50 in Berlin, for the first time of two.
_BERLIN_AUTUMN_MS: Final = 1_792_889_400_000


def make_command(name: str, **table: Any) -> Table:
    return {"name": name, "argv": ARGV, "parameters": PARAMETERS, "silence": "rerun", **table}


def make_submit(
    at_s: float, command: str, *, seconds: float = 30.0, codes: str = "0", **settings: Any
) -> Step:
    about = settings.get("subject") or "none"
    arguments = {"seconds": seconds, "codes": codes, "manner": "obeys", "about": about}
    submit = {
        "command": command, "arguments": arguments, "subject": None, "submitter": "anna",
    } | settings  # fmt: skip
    return Step(round(1000 * at_s), "submit", submit)


def make_plan(
    commands: list[Table],
    *work: Step,
    settings: tuple[Table, ...] = (OPEN,),
    start_ms: int = NOON_MS,
    faults: tuple[Fault, ...] = (),
    retention: Table | None = None,
) -> Plan:
    return Plan(
        1, len(settings), _CALM_MS, [1000] * (len(settings) + 1), commands, list(settings),
        list(faults), list(work), {"nas": 2}, start_ms=start_ms,
        retention=retention,
    )  # fmt: skip


_SMALL: Final = make_command("small", semaphores={"nas": 1})
_PATIENT: Final = make_command("patient", semaphores={"nas": 2})
_URGENT: Final = make_command("urgent", semaphores={"nas": 2})
_WORK: Final = make_command("work")
_OTHER: Final = make_command("other")


def _stream(priority: int = 0) -> list[Step]:
    """Jobs of one unit each, of which always one runs and another waits."""
    return [
        make_submit(10 + 10 * number, "small", seconds=25, priority=priority)
        for number in range(40)
    ]


# Plan, and the properties that the mutant may violate first.
PLACEMENT_SCENARIOS: Final[dict[str, Scenario]] = {
    "rights-ignored": (
        make_plan([_WORK], make_submit(20, "work"), settings=({"allow": [], "jobs": 2}, OPEN)),
        ("POLICY",),
    ),
    "pin-ignored": (
        make_plan(
            [_WORK],
            *(make_submit(20, "work", machine="m2") for _ in range(3)),
            settings=(OPEN, OPEN),
        ),
        ("POLICY",),
    ),
    "labels-ignored": (
        make_plan(
            [make_command("work", labels=["gpu"])],
            make_submit(20, "work"),
            settings=(OPEN, OPEN | {"labels": ["gpu"]}),
        ),
        ("POLICY",),
    ),
    "closed-hours-ignored": (
        make_plan(
            [make_command("work", windows={"open": ["12:05-13:00"]})], make_submit(20, "work")
        ),
        ("WINDOW",),
    ),
    "ceiling-ignored": (
        make_plan(
            [_WORK],
            *(make_submit(20, "work") for _ in range(3)),
            settings=(OPEN | {"windows": {"open": ["00:00-24:00 at most 2"]}},),
        ),
        ("LEVEL",),
    ),
    "at-most-ignored": (
        make_plan(
            [make_command("work", at_most=1)], make_submit(20, "work"), make_submit(21, "work")
        ),
        ("AT_MOST",),
    ),
    "semaphores-ignored": (
        make_plan([_SMALL], *(make_submit(20, "small") for _ in range(3))),
        ("SEMAPHORE",),
    ),
    "slots-ignored": (
        make_plan([_WORK], *(make_submit(20, "work") for _ in range(5))),
        ("CEILING",),
    ),
    # After the first job the master knows that jobs of this command are short.
    "agent-ignores-slots": (
        make_plan(
            [_WORK],
            make_submit(20, "work", seconds=0.05),
            *(make_submit(40, "work", seconds=0.05) for _ in range(12)),
        ),
        ("CEILING",),
    ),
    "newest-first": (make_plan([_WORK], *(make_submit(20, "work") for _ in range(9))), ("ORDER",)),
    "deadline-order-ignored": (
        make_plan(
            [_WORK], *(make_submit(20, "work", deadline_s=900 - number) for number in range(9))
        ),
        ("ORDER",),
    ),
    "priority-ignored": (
        make_plan(
            [_WORK, _OTHER],
            *(make_submit(20, "work") for _ in range(9)),
            *(make_submit(25, "other", priority=5) for _ in range(2)),
        ),
        ("ORDER",),
    ),
    "deadline-missed": (
        make_plan(
            [_WORK],
            *(make_submit(20, "work", seconds=300) for _ in range(4)),
            make_submit(21, "work", deadline_s=60),
        ),
        ("DEADLINE",),
    ),
    "nothing-reserved": (
        make_plan([_SMALL, _PATIENT], *_stream(), make_submit(15, "patient")),
        ("STARVE",),
    ),
    "reserved-by-age": (
        make_plan(
            [_SMALL, _PATIENT, _URGENT],
            *_stream(1),
            make_submit(22, "patient"),
            make_submit(24, "urgent", priority=1),
        ),
        ("STARVE",),
    ),
    "shares-not-charged": (
        make_plan(
            [_WORK],
            *(make_submit(20, "work", submitter="anna") for _ in range(60)),
            make_submit(25, "work", submitter="bert"),
        ),
        ("SHARE",),
    ),
    "subject-leased-twice": (
        make_plan(
            [_WORK, _OTHER],
            *(
                make_submit(20, each, subject="film a", deadline_s=900)
                for each in ("work", "other") * 4
            ),
        ),
        ("SUBJECT", "subject", "CRASH", "IDLE"),
    ),
    # 400 short jobs of two classes about the same 200 subjects wait for the machine's return. The
    # first class is leased ahead; all jobs of the second are passed over.
    "passed-over-read-again": (
        make_plan(
            [_WORK, _OTHER],
            *(
                make_submit(20 + 1 * number, each, seconds=0.01)
                for number in range(8)
                for each in ("work", "other")
            ),
            *(
                make_submit(90, each, seconds=0.01, subject=f"film {number}", priority=priority)
                for each, priority in (("work", 1), ("other", 0))
                for number in range(200)
            ),
            settings=(OPEN | {"jobs": 16},),
            faults=(Fault(40_000, "cut", 1, 80_000),),
        ),
        ("SPIN",),
    ),
    "failures-not-counted": (
        make_plan(
            [make_command("work", retry={"failures": 1, "backoff": "10s"})],
            make_submit(20, "work", codes="1"),
        ),
        ("RETRY",),
    ),
    "no-retry": (
        make_plan(
            [make_command("work", retry={"failures": 1, "backoff": "10s"})],
            make_submit(20, "work", codes="1,0"),
        ),
        ("RETRY",),
    ),
    "no-backoff": (
        make_plan(
            [make_command("work", retry={"failures": 1, "backoff": "60s"})],
            make_submit(20, "work", codes="1,0"),
        ),
        ("RETRY",),
    ),
    # The jobs of one class cannot be read; those of the other go on. Jobs about a subject are read
    # from the store, others are known from their submit.
    "nothing-set-aside": (
        make_plan(
            [_WORK, _OTHER],
            make_submit(20, "work", subject="film a"),
            make_submit(25, "other"),
            make_submit(60, "work", subject="film b"),
            make_submit(65, "other"),
            faults=(Fault(50_000, "row", 0, 600_000, 1),),
        ),
        ("IDLE",),
    ),
    "daylight-saving-ignored": (
        make_plan(
            [make_command("work", windows={"open": ["03:00-04:00"]})],
            make_submit(20, "work"),
            settings=(OPEN | {"zone": "Europe/Berlin"},),
            start_ms=_BERLIN_AUTUMN_MS,
        ),
        ("WINDOW",),
    ),
}
