"""Each rule of eligibility, alone: met, not met, and its reason."""

from __future__ import annotations

from typing import Any

import pytest

from mythjobs.model.bounds import Bounds
from mythjobs.model.machine_policy import ALLOW_ALL, MachinePolicy, Rights, policy_from_table
from mythjobs.model.window import Hours
from mythjobs.scheduler import eligibility as e
from mythjobs.scheduler.blocked import explain_wait
from mythjobs.scheduler.capacity import RunningAttempt, UsageCounts
from mythjobs.scheduler.window_state import compute_window_state

NOON = 1_795_521_600_000  # Tuesday
ATTIC = 1
ALL = frozenset(
    {"leases", "windows", "freeze", "cpu", "idle", "memory", "output", "processes", "nice", "io"}
)


_NO_SETTINGS = e.EffectiveSettings()


def a_machine(**changed: Any) -> e.MachineFacts:
    facts: dict[str, Any] = {
        "name": "attic", "rights": ALLOW_ALL, "connected": True, "jobs": 4, "running": 0,
        "machine_id": ATTIC, "can": ALL,
    }  # fmt: skip
    return e.MachineFacts(**facts | changed)


def at_noon(
    *running: RunningAttempt, settings: e.EffectiveSettings | None = None, **changed: Any
) -> e.Conditions:
    hours = None if settings is None else settings.hours
    window = None if hours is None else compute_window_state(hours, NOON)
    facts: dict[str, Any] = {
        "now_ms": NOON, "counts": UsageCounts(running), "semaphore_sizes": {"nas": 3},
        "window": window,
    }  # fmt: skip
    return e.Conditions(**facts | changed)


def a_class(**changed: Any) -> e.Requirements:
    facts: dict[str, Any] = {"command": "flag", "command_id": 7, "class_id": 70}
    return e.Requirements(**facts | changed)


def hours(
    *open_: str, closing: str = "finish", machine: tuple[str, ...] = ()
) -> e.EffectiveSettings:
    return e.EffectiveSettings(Hours((open_, machine, ()), "", closing))


def a_candidate(
    requirements: e.Requirements,
    machine: e.MachineFacts,
    settings: e.EffectiveSettings = _NO_SETTINGS,
    conditions: e.Conditions | None = None,
) -> e.Candidate:
    conditions = at_noon(settings=settings) if conditions is None else conditions
    return e.Candidate(requirements, machine, settings, conditions)


def broken_rules(
    requirements: e.Requirements,
    machine: e.MachineFacts,
    settings: e.EffectiveSettings = _NO_SETTINGS,
    conditions: e.Conditions | None = None,
) -> dict[str, str]:
    """Return the rules that are not met, with their reasons."""
    candidate = a_candidate(requirements, machine, settings, conditions)
    return {each.rule: each.detail for each in e.check_rules(candidate) if not each.ok}


def test_a_class_without_requirements_may_run_on_an_unrestricted_machine() -> None:
    candidate = a_candidate(a_class(), a_machine())
    assert broken_rules(a_class(), a_machine()) == {}
    assert explain_wait(a_class(), [candidate], NOON)[0] == "starting"


@pytest.mark.parametrize(
    "requirements,machine,rule,reason",
    [
        ({}, {"rights": Rights("listed", frozenset())}, "rights", "flag is not allowed here"),
        ({"pin": "cellar"}, {}, "pin", "the job is pinned to cellar"),
        (
            {"labels": ("big", "gpu")},
            {"policy": MachinePolicy(labels=("big",))},
            "labels",
            "has no label gpu",
        ),
        ({}, {"connected": False}, "connected", "not connected"),
        ({}, {"running": 4}, "room", "no free slot (4 in use)"),
        (
            {"capabilities": ("leases",)},
            {"can": frozenset()},
            "limits",
            "cannot enforce leases by itself",
        ),
    ],
)
def test_a_broken_rule_gives_its_reason(
    requirements: dict[str, Any], machine: dict[str, Any], rule: str, reason: str
) -> None:
    assert broken_rules(a_class(**requirements), a_machine(**machine)) == {rule: reason}


def test_a_limit_that_a_machine_cannot_enforce_breaks_a_rule_unless_best_effort_is_set() -> None:
    settings = e.EffectiveSettings(bounds=Bounds(wall_s=60, memory_bytes=2**30, grace_s=3))
    bare = a_machine(can=frozenset())
    assert broken_rules(a_class(), bare, settings) == {
        "limits": "cannot enforce memory by itself; "
        "best_effort = true starts the job without these limits"
    }
    assert broken_rules(a_class(best_effort=True), bare, settings) == {}
    assert broken_rules(a_class(), a_machine(), settings) == {}
    # best_effort covers limits of the process tree only; an output limit is not one.
    settings = e.EffectiveSettings(bounds=Bounds(output_bytes=1))
    assert broken_rules(a_class(best_effort=True), bare, settings) == {
        "limits": "cannot enforce output by itself"
    }


def test_hours_need_a_machine_that_enforces_them_by_itself() -> None:
    settings = hours("00:00-24:00", closing="freeze")
    assert broken_rules(a_class(), a_machine(can=frozenset({"windows"})), settings) == {
        "limits": "cannot enforce freeze by itself"
    }


def test_the_reason_of_a_closed_window_says_when_it_opens() -> None:
    assert broken_rules(a_class(), a_machine(), hours("22:00-06:00")) == {"window": "opens 22:00"}
    assert broken_rules(a_class(), a_machine(), hours("mon 22:00-06:00")) == {
        "window": "opens mon 22:00"
    }
    never = e.EffectiveSettings(Hours((("mon 10:00-11:00",), ("tue 10:00-11:00",), ())))
    assert broken_rules(a_class(), a_machine(), never) == {"window": "its hours never open"}


@pytest.mark.parametrize("closing", ["requeue", "terminate"])
def test_a_job_that_does_not_fit_into_its_window_waits_unless_it_may_finish_later(
    closing: str,
) -> None:
    settings = hours("10:00-13:00", closing=closing)
    for typical_s, fits in ((3600, True), (3601, False), (None, True)):
        conditions = at_noon(settings=settings, typical_s=typical_s)
        assert (broken_rules(a_class(), a_machine(), settings, conditions) == {}) is fits
    for closing in ("finish", "freeze"):
        settings = hours("10:00-13:00", closing=closing)
        conditions = at_noon(settings=settings, typical_s=10**6)
        assert broken_rules(a_class(), a_machine(), settings, conditions) == {}


def test_a_level_of_the_command_counts_its_jobs_and_one_of_the_machine_counts_all() -> None:
    of_flag, of_other = RunningAttempt(ATTIC, 7), RunningAttempt(ATTIC, 8)
    elsewhere = RunningAttempt(2, 7)
    settings = hours("00:00-24:00 at most 1", machine=("00:00-24:00 at most 3",))
    assert (
        broken_rules(
            a_class(), a_machine(), settings, at_noon(of_other, elsewhere, settings=settings)
        )
        == {}
    )
    assert broken_rules(a_class(), a_machine(), settings, at_noon(of_flag, settings=settings)) == {
        "ceiling": "runs at most 1 of flag at this hour"
    }
    full = at_noon(of_other, of_other, of_other, settings=settings)
    assert broken_rules(a_class(), a_machine(), settings, full) == {
        "ceiling": "runs at most 3 jobs at this hour"
    }


def test_ceilings_of_machine_policy_and_of_the_command() -> None:
    owner = policy_from_table({"commands": {"flag": {"jobs": 1}}})
    assert broken_rules(
        a_class(), a_machine(policy=owner), conditions=at_noon(RunningAttempt(ATTIC, 7))
    ) == {"ceiling": "runs at most 1 of flag at once"}
    both = at_noon(RunningAttempt(2, 7), RunningAttempt(3, 7))
    assert broken_rules(a_class(at_most=2), a_machine(), conditions=both) == {
        "at_most": "at most 2 of flag run at once"
    }


def test_semaphores_are_counted_in_units() -> None:
    requirements = a_class(semaphores=(("nas", 2),))
    one = RunningAttempt(2, 9, (("nas", 1),))
    assert broken_rules(requirements, a_machine(), conditions=at_noon(one)) == {}
    assert broken_rules(requirements, a_machine(), conditions=at_noon(one, one)) == {
        "semaphores": "2 of 3 units of semaphore nas are in use"
    }
    assert broken_rules(a_class(semaphores=(("nas", 4),)), a_machine()) == {
        "semaphores": "needs 4 units of semaphore nas, which has 3"
    }
    assert "there is no semaphore tuner" in str(
        broken_rules(a_class(semaphores=(("tuner", 1),)), a_machine())
    )


def test_units_reserved_for_another_class_are_not_used() -> None:
    requirements = a_class(semaphores=(("nas", 1),))
    assert "are reserved for a job that has waited longer" in str(
        broken_rules(requirements, a_machine(), conditions=at_noon(reserved={"nas": 71}))
    )
    assert broken_rules(requirements, a_machine(), conditions=at_noon(reserved={"nas": 70})) == {}


@pytest.mark.parametrize(
    "changed,code,reason",
    [
        (
            {"enabled": False},
            "disabled",
            "flag is disabled; enable it with `mythjobs command enable flag`",
        ),
        (
            {"put_off_ms": NOON + 90_000, "put_off_reason": "NAS offline"},
            "put_off",
            "flag is deferred for 1 min 30 s (NAS offline)",
        ),
        ({"pin": "cellar"}, "no_such_machine", "no machine named cellar has ever joined"),
        ({"labels": ("gpu",)}, "no_label", "attic has no label gpu"),
        ({"semaphores": (("nas", 4),)}, "semaphore", "needs 4 units of semaphore nas, which has 3"),
    ],
)
def test_a_wait_has_a_stable_code_and_one_sentence(
    changed: dict[str, Any], code: str, reason: str
) -> None:
    requirements = a_class(**changed)
    found = explain_wait(requirements, [a_candidate(requirements, a_machine())], NOON)
    assert found[0] == code
    assert reason in found[1]


def test_the_reason_names_the_machines_that_meet_most_rules() -> None:
    night = hours("22:00-06:00")
    forbidding = a_machine(name="attic", rights=Rights("listed", frozenset()))
    candidates = [
        a_candidate(a_class(), forbidding),
        a_candidate(a_class(), a_machine(name="cellar", connected=False)),
        a_candidate(a_class(), a_machine(name="den"), night),
    ]
    assert explain_wait(a_class(), candidates, NOON) == (
        "window_closed", "waits for the window of machine den, opens at 22:00 (in 10 h)",
    )  # fmt: skip
    assert explain_wait(a_class(), candidates[:2], NOON)[0] == "not_connected"
    assert explain_wait(a_class(), candidates[:1], NOON)[0] == "not_allowed"
    assert explain_wait(a_class(), [], NOON)[0] == "no_machine"


def test_all_rules_are_the_policy_rules_and_the_state_rules() -> None:
    names = {name for name, _ in e.ALL_RULES}
    assert names == {name for name, _ in (*e.POLICY_RULES, *e.STATE_RULES)} | {"connected", "room"}
    night = hours("22:00-06:00")
    assert e.is_permitted(a_class(), a_machine(), night)
    assert e.find_blocking_rule(a_candidate(a_class(), a_machine(), night)) == "window"
