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
_OPEN: Final = {"allow": "all", "jobs": 4}
# 2026-10-25, 00:50 UTC: 02:50 in Berlin, for the first time of two.
_BERLIN_AUTUMN_MS: Final = 1_792_889_400_000


def _command(name: str, **table: Any) -> Table:
    return {"name": name, "argv": ARGV, "parameters": PARAMETERS, "silence": "rerun", **table}


def _submit(
    at_s: float, command: str, *, seconds: float = 30.0, codes: str = "0", **settings: Any
) -> Step:
    about = settings.get("subject") or "none"
    arguments = {"seconds": seconds, "codes": codes, "manner": "obeys", "about": about}
    submit = {
        "command": command, "arguments": arguments, "subject": None, "submitter": "anna",
    } | settings  # fmt: skip
    return Step(round(1000 * at_s), "submit", submit)


def _plan(
    commands: list[Table],
    *work: Step,
    settings: tuple[Table, ...] = (_OPEN,),
    start_ms: int = NOON_MS,
    faults: tuple[Fault, ...] = (),
) -> Plan:
    return Plan(
        1, len(settings), _CALM_MS, [1000] * (len(settings) + 1), commands, list(settings),
        list(faults), list(work), {"nas": 2}, start_ms=start_ms,
    )  # fmt: skip


_SMALL: Final = _command("small", semaphores={"nas": 1})
_PATIENT: Final = _command("patient", semaphores={"nas": 2})
_URGENT: Final = _command("urgent", semaphores={"nas": 2})
_WORK: Final = _command("work")
_OTHER: Final = _command("other")


def _stream(priority: int = 0) -> list[Step]:
    """Jobs of one unit each, of which always one runs and another waits."""
    return [
        _submit(10 + 10 * number, "small", seconds=25, priority=priority) for number in range(40)
    ]


# Plan, and the properties that the mutant may violate first.
PLACEMENT_SCENARIOS: Final[dict[str, Scenario]] = {
    "rights-ignored": (
        _plan([_WORK], _submit(20, "work"), settings=({"allow": [], "jobs": 2}, _OPEN)),
        ("POLICY",),
    ),
    "pin-ignored": (
        _plan([_WORK], *(_submit(20, "work", machine="m2") for _ in range(3)),
              settings=(_OPEN, _OPEN)),
        ("POLICY",),
    ),
    "labels-ignored": (
        _plan([_command("work", labels=["gpu"])], _submit(20, "work"),
              settings=(_OPEN, _OPEN | {"labels": ["gpu"]})),
        ("POLICY",),
    ),
    "closed-hours-ignored": (
        _plan([_command("work", windows={"open": ["12:05-13:00"]})], _submit(20, "work")),
        ("WINDOW",),
    ),
    "ceiling-ignored": (
        _plan([_WORK], *(_submit(20, "work") for _ in range(3)),
              settings=(_OPEN | {"windows": {"open": ["00:00-24:00 at most 2"]}},)),
        ("LEVEL",),
    ),
    "at-most-ignored": (
        _plan([_command("work", at_most=1)], _submit(20, "work"), _submit(21, "work")),
        ("AT_MOST",),
    ),
    "semaphores-ignored": (
        _plan([_SMALL], *(_submit(20, "small") for _ in range(3))),
        ("SEMAPHORE",),
    ),
    "slots-ignored": (_plan([_WORK], *(_submit(20, "work") for _ in range(5))), ("CEILING",)),
    # After the first job the master knows that jobs of this command are short.
    "agent-ignores-slots": (
        _plan([_WORK], _submit(20, "work", seconds=0.05),
              *(_submit(40, "work", seconds=0.05) for _ in range(12))),
        ("CEILING",),
    ),
    "newest-first": (_plan([_WORK], *(_submit(20, "work") for _ in range(9))), ("ORDER",)),
    "deadline-order-ignored": (
        _plan([_WORK], *(_submit(20, "work", deadline_s=900 - number) for number in range(9))),
        ("ORDER",),
    ),
    "priority-ignored": (
        _plan([_WORK, _OTHER], *(_submit(20, "work") for _ in range(9)),
              *(_submit(25, "other", priority=5) for _ in range(2))),
        ("ORDER",),
    ),
    "deadline-missed": (
        _plan([_WORK], *(_submit(20, "work", seconds=300) for _ in range(4)),
              _submit(21, "work", deadline_s=60)),
        ("DEADLINE",),
    ),
    "nothing-reserved": (
        _plan([_SMALL, _PATIENT], *_stream(), _submit(15, "patient")),
        ("STARVE",),
    ),
    "reserved-by-age": (
        _plan([_SMALL, _PATIENT, _URGENT], *_stream(1), _submit(22, "patient"),
              _submit(24, "urgent", priority=1)),
        ("STARVE",),
    ),
    "shares-not-charged": (
        _plan([_WORK], *(_submit(20, "work", submitter="anna") for _ in range(60)),
              _submit(25, "work", submitter="bert")),
        ("SHARE",),
    ),
    "subject-leased-twice": (
        _plan([_WORK, _OTHER],
              *(_submit(20, each, subject="film a", deadline_s=900)
                for each in ("work", "other") * 4)),
        ("SUBJECT", "subject", "CRASH", "IDLE"),
    ),
    # 400 short jobs of two classes about the same 200 subjects wait for the machine's return. The
    # first class is leased ahead; all jobs of the second are passed over.
    "passed-over-read-again": (
        _plan([_WORK, _OTHER],
              *(_submit(20 + 1 * number, each, seconds=0.01)
                for number in range(8) for each in ("work", "other")),
              *(_submit(90, each, seconds=0.01, subject=f"film {number}", priority=priority)
                for each, priority in (("work", 1), ("other", 0)) for number in range(200)),
              settings=(_OPEN | {"jobs": 16},), faults=(Fault(40_000, "cut", 1, 80_000),)),
        ("SPIN",),
    ),
    "failures-not-counted": (
        _plan([_command("work", retry={"failures": 1, "backoff": "10s"})],
              _submit(20, "work", codes="1")),
        ("RETRY",),
    ),
    "no-retry": (
        _plan([_command("work", retry={"failures": 1, "backoff": "10s"})],
              _submit(20, "work", codes="1,0")),
        ("RETRY",),
    ),
    "no-backoff": (
        _plan([_command("work", retry={"failures": 1, "backoff": "60s"})],
              _submit(20, "work", codes="1,0")),
        ("RETRY",),
    ),
    # The jobs of one class cannot be read; those of the other go on.
    "nothing-set-aside": (
        _plan([_WORK, _OTHER], _submit(20, "work"), _submit(25, "other"), _submit(60, "work"),
              _submit(65, "other"), faults=(Fault(50_000, "row", 0, 600_000, 1),)),
        ("IDLE",),
    ),
    "daylight-saving-ignored": (
        _plan([_command("work", windows={"open": ["03:00-04:00"]})], _submit(20, "work"),
              settings=(_OPEN | {"zone": "Europe/Berlin"},), start_ms=_BERLIN_AUTUMN_MS),
        ("WINDOW",),
    ),
}  # fmt: skip
