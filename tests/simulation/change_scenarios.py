"""Scenario for each mutant of changes and retention: a few steps that show why the rule exists."""

from __future__ import annotations

from typing import Any, Final

from tests.simulation.placement_scenarios import (
    OPEN,
    Scenario,
    make_command,
    make_plan,
    make_submit,
)
from tests.simulation.plan import Fault, Step

Table = dict[str, Any]

_WORK: Final = make_command("work")
_SMALL: Final = make_command("small", semaphores={"nas": 1})
# Keeps the run going, so that retention has passes 30 s and 630 s after the start.
_LONG: Final = make_submit(20, "other", seconds=1500)
_OTHER: Final = make_command("other")
_SHORT: Final = [make_submit(20 + 3 * number, "work", seconds=1) for number in range(20)]
_OLD: Final = {"age": "2m"}


def _step(at_s: float, action: str, **arguments: Any) -> Step:
    return Step(round(1000 * at_s), action, arguments)


def _batch(*seconds: float, breaks_off: bool = False) -> Step:
    rows = [{"seconds": each, "codes": "0", "manner": "obeys", "about": "none"} for each in seconds]
    return _step(20, "batch", command="work", rows=rows, slice=1, priority=0, hold=False,
                 breaks_off=breaks_off)  # fmt: skip


def _schedule(seconds: int, at_s: float = 10, **settings: Any) -> Step:
    arguments = {"seconds": seconds, "codes": "0"}
    return _step(at_s, "schedule", name="s0", command="work", every="45s", arguments=arguments,
                 catch_up="last", **settings)  # fmt: skip


_PAUSE: Final = _step(1200, "pause schedule", name="s0", on=True)

# Plan, and the properties that the mutant may violate first.
CHANGE_SCENARIOS: Final[dict[str, Scenario]] = {
    "settings-cached": (
        make_plan(
            [_WORK],
            make_submit(20, "work"),
            _step(60, "edit", name="m1", settings={"allow": [], "jobs": 4}),
            make_submit(70, "work"),
        ),
        ("POLICY",),
    ),
    "semaphore-size-cached": (
        make_plan(
            [_SMALL],
            make_submit(20, "small"),
            _step(60, "semaphore", name="nas", size=0),
            make_submit(70, "small"),
        ),
        ("SEMAPHORE",),
    ),
    "revision-replaced": (
        make_plan(
            [make_command("work", retry={"failures": 1, "backoff": "10s"})],
            make_submit(20, "work", codes="1,0"),
            _step(30, "define", **_WORK),
        ),
        ("RETRY",),
    ),
    "limits-not-changed": (
        make_plan(
            [_WORK],
            make_submit(20, "work", seconds=600),
            _step(60, "edit", name="m1", settings=OPEN | {"limits": {"wall": "2m"}}),
        ),
        ("LIMIT",),
    ),
    "paused-job-runs-again": (
        make_plan(
            [_WORK],
            make_submit(20, "work", seconds=300),
            _step(60, "freeze", job=0, on=True),
            faults=(Fault(90_000, "reboot", 1, 5000),),
        ),
        ("PAUSE",),
    ),
    "batch-opened-early": (make_plan([_WORK], _batch(5, 5, 5)), ("BATCH",)),
    "unopened-batch-kept": (make_plan([_WORK], _batch(5, 5, 5, breaks_off=True)), ("BOUND",)),
    "dead-machine-keeps-jobs": (
        make_plan(
            [_WORK | {"silence": "keep"}],
            make_submit(20, "work", prefer="m1"),
            _step(60, "dead", name="m1"),
            settings=(OPEN, OPEN),
            faults=(Fault(30_000, "dead", 1),),
        ),
        ("BOUND",),
    ),
    # The agent is killed before it tells the master of the start, and then the reaper dies.
    "start-not-journaled": (
        make_plan(
            [_WORK | {"silence": "hold"}],
            make_submit(20, "work", seconds=300),
            settings=(OPEN,),
            faults=(Fault(20_008, "kill", 1, 10_000), Fault(25_000, "reaper", 1)),
        ),
        ("I21",),
    ),
    "commits-not-synced": (
        make_plan([_WORK], *_SHORT, faults=(Fault(60_000, "reboot", 0, 5000, 1),)),
        ("DURABLE",),
    ),
    "open-jobs-deleted": (
        make_plan([_OTHER], _LONG, make_submit(20, "other", seconds=1), retention=_OLD),
        ("RETENTION",),
    ),
    "batch-split": (make_plan([_WORK], _batch(1, 1500), retention=_OLD), ("RETENTION",)),
    "dependents-ignored": (
        make_plan(
            [_WORK, _OTHER],
            _LONG,
            make_submit(21, "work", seconds=1),
            make_submit(25, "work", not_before_s=900, after=[{"job": 1, "when": "any"}]),
            retention=_OLD,
        ),
        ("RETENTION",),
    ),
    "age-ignored": (
        make_plan(
            [_WORK, _OTHER], make_submit(20, "work", seconds=1), _LONG, retention={"age": "30d"}
        ),
        ("RETENTION",),
    ),
    "count-ignored": (
        make_plan(
            [_WORK, _OTHER], make_submit(20, "work", seconds=1), _LONG, retention={"jobs": 2}
        ),
        ("RETENTION",),
    ),
    "states-ignored": (
        make_plan(
            [_WORK, _OTHER],
            make_submit(20, "work", seconds=1),
            _LONG,
            _step(60, "prune", age_s=0, states=["failed"]),
        ),
        ("RETENTION",),
    ),
    "overlap-ignored": (make_plan([_WORK, _OTHER], _LONG, _schedule(200), _PAUSE), ("TICK",)),
    "missed-ticks-dropped": (
        make_plan(
            [_WORK, _OTHER],
            _LONG,
            _schedule(1),
            _PAUSE,
            faults=(Fault(300_000, "kill", 0, 300_000),),
        ),
        ("TICK",),
    ),
    # The job of the first tick runs, that of the second waits and is cancelled.
    "dependencies-not-passed-on": (
        make_plan(
            [_WORK, _OTHER],
            _LONG,
            _schedule(200, overlap="queue", at_most=2),
            _step(120, "run schedule", name="s0"),
            _step(125, "cancel tick", newest=1),
            _PAUSE,
        ),
        ("TICK",),
    ),
    # The master is stopped while ticks become due, and finds them beside the edit.
    "due-ticks-forgotten": (
        make_plan(
            [_WORK, _OTHER],
            _LONG,
            _schedule(1),
            _schedule(2, at_s=400),
            _PAUSE,
            faults=(Fault(300_000, "stall", 0, 120_000),),
        ),
        ("TICK",),
    ),
}
