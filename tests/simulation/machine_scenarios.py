"""Scenario for each mutant of machines and of restored stores."""

from __future__ import annotations

from typing import Any, Final

from tests.simulation.placement_scenarios import (
    OPEN,
    Scenario,
    make_command,
    make_plan,
    make_submit,
)
from tests.simulation.plan import MASTER, Fault, Step

_WORK: Final = make_command("work")
_LONG: Final = make_submit(20, "work", seconds=600)
_ONE_SLOT: Final = OPEN | {"jobs": 1}


def _step(at_s: float, action: str, **arguments: Any) -> Step:
    return Step(round(1000 * at_s), action, arguments)


def _control(at_s: float, action: str, for_s: int = 0) -> Step:
    arguments = {"name": "m1", "action": action, "for_ms": 1000 * for_s}
    return Step(round(1000 * at_s), "control", arguments)


_NIGHT: Final = {"windows": {"open": ["20:00-24:00"], "closing": "freeze"}}


def _restore(backup_s: int, restore_s: int) -> tuple[Fault, ...]:
    times_ms = 1000 * backup_s, 1000 * restore_s
    return Fault(times_ms[0], "backup", MASTER), Fault(times_ms[1], "restore", MASTER, 5000)


_KEPT: Final = _WORK | {"silence": "keep"}

# Plan, and the properties that the mutant may violate first.
MACHINE_SCENARIOS: Final[dict[str, Scenario]] = {
    "drain-ignored": (
        make_plan([_WORK], _control(15, "drain"), make_submit(20, "work"), _control(90, "resume")),
        ("CONTROL",),
    ),
    "resume-incomplete": (
        make_plan([_WORK], _control(15, "drain"), make_submit(20, "work"), _control(60, "resume")),
        ("IDLE",),
    ),
    # Jobs that end at once are leased ahead of the only slot, which then one of 20 s has.
    "agent-ignores-drain": (
        make_plan(
            [make_command("blink", silence="keep")],
            *(make_submit(20, "blink", seconds=0) for _ in range(4)),
            *(make_submit(40, "blink", seconds=each) for each in (20, 0, 0, 0, 0)),
            _control(45, "drain"),
            _control(90, "resume"),
            settings=(_ONE_SLOT,),
        ),
        ("CONTROL",),
    ),
    "pause-freezes-nothing": (
        make_plan([_WORK], _LONG, _control(60, "pause"), _control(120, "resume")),
        ("CONTROL",),
    ),
    "pause-end-left-to-agent": (
        make_plan(
            [_WORK | {"silence": "keep"}],
            _LONG,
            _control(60, "pause", 60),
            faults=(Fault(100_000, "kill", 1, 60_000),),
        ),
        ("CONTROL",),
    ),
    "terms-not-sent": (
        make_plan([_WORK], _LONG, _step(60, "edit", name="m1", settings=OPEN | _NIGHT)),
        ("TERMS",),
    ),
    "overrides-cached": (
        make_plan(
            [_WORK],
            _LONG,
            _step(60, "hours", name="m1", kind="pause", for_ms=300_000, command="work"),
        ),
        ("TERMS",),
    ),
    "revoked-key-accepted": (
        make_plan([_WORK], _LONG, _step(60, "revoke", name="m1", rejoin_s=600)),
        ("REVOKED",),
    ),
    # The class was placed on machine 1 before that got another name.
    "names-cached": (
        make_plan(
            [_WORK],
            make_submit(20, "work", machine="m1"),
            _step(60, "rename", name="m1", new="attic"),
            make_submit(70, "work", machine="m1"),
        ),
        ("POLICY",),
    ),
    # The machine joins again with the attempt of its old key.
    "stale-ignored": (
        make_plan([_KEPT], _LONG, _step(60, "revoke", name="m1", rejoin_s=60)),
        ("STALE",),
    ),
    "rejections-not-sent": (
        make_plan([_KEPT], _LONG, _step(60, "revoke", name="m1", rejoin_s=60)),
        ("STALE",),
    ),
    # The user submits job 2 again, which the backup does not have.
    "ids-reused": (
        make_plan([_WORK], _LONG, make_submit(40, "work"), faults=_restore(30, 60)),
        ("I5",),
    ),
    # Job 1 has its first attempt after the backup, and its next after the release.
    "attempt-numbers-reused": (
        make_plan(
            [_WORK],
            make_submit(20, "work", seconds=100, not_before_s=20),
            _step(90, "release", job=0),
            faults=_restore(30, 60),
        ),
        ("I5", "I8"),
    ),
    "restored-jobs-run": (
        make_plan(
            [_WORK], make_submit(20, "work", seconds=100, not_before_s=20), faults=_restore(30, 60)
        ),
        ("RESTORE",),
    ),
    "attempts-in-both-ended": (
        make_plan([_WORK], _LONG, faults=_restore(30, 60)),
        ("RESTORE",),
    ),
    "ticks-repeated": (
        make_plan(
            [_WORK, make_command("other")],
            make_submit(20, "other", seconds=900),
            _step(
                10,
                "schedule",
                name="s0",
                command="work",
                every="45s",
                arguments={"seconds": 1, "codes": "0"},
                catch_up="all",
            ),
            _step(1200, "pause schedule", name="s0", on=True),
            faults=_restore(30, 300),
        ),
        ("RESTORE",),
    ),
}
