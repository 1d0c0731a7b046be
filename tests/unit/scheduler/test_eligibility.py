"""Each rule of eligibility, alone: met, not met, and its reason."""

from __future__ import annotations

from typing import Any

import pytest

from mythjobs.model.bounds import Bounds
from mythjobs.model.command import Command
from mythjobs.model.limits import Limits
from mythjobs.model.machine_policy import ALLOW_ALL, MachinePolicy, Rights, policy_from_table
from mythjobs.model.policy_tables import Windows
from mythjobs.model.window import Hours
from mythjobs.scheduler import eligibility as e
from mythjobs.scheduler.blocked import explain_wait, find_command_stop
from mythjobs.scheduler.capacity import RunningAttempt, UsageCounts
from mythjobs.scheduler.settings import combine_settings
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
    assert broken_rules(a_class(), a_machine(running=3)) == {}  # one slot is free
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
        (
            {"labels": ("comskip", "gpu")},
            {"policy": MachinePolicy(no_labels=("gpu",)), "found_labels": frozenset({"gpu"})},
            "labels",
            "has no label comskip, gpu (its settings refuse gpu)",
        ),
        ({}, {"connected": False}, "connected", "not connected"),
        ({}, {"running": 4}, "room", "no free slot (4 in use)"),
        ({}, {"running": 5}, "room", "no free slot (4 in use)"),
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
        "with best_effort = true the job starts, and these limits are only sampled"
    }
    # `mythjobs run` has no definition in which to set that.
    assert broken_rules(a_class(command="run"), bare, settings) == {
        "limits": "cannot enforce memory by itself; cancel the job, and run it without these "
        "limits, or with --best-effort, which only samples them"
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


def test_all_rules_are_the_policy_rules_and_the_state_rules() -> None:
    names = {name for name, _ in e.ALL_RULES}
    others = {"connected", "drained", "paused", "visible", "room"}
    assert names == {name for name, _ in (*e.POLICY_RULES, *e.STATE_RULES)} | others
    night = hours("22:00-06:00")
    assert e.is_permitted(a_class(), a_machine(), night)
    assert e.find_blocking_rule(a_candidate(a_class(), a_machine(), night)) == "window"


def test_the_reasons_of_semaphores_say_what_to_do() -> None:
    requirements = a_class(semaphores=(("nas", 1), ("tuner", 1)))
    missing = "there is no semaphore tuner; make it with `mythjobs semaphore set tuner N`"
    assert broken_rules(requirements, a_machine()) == {"semaphores": missing}
    reserved = "free units of semaphore nas are reserved for a job that has waited longer"
    conditions = at_noon(reserved={"nas": 71})
    assert broken_rules(requirements, a_machine(), conditions=conditions) == {
        "semaphores": reserved
    }
    # A reservation of one semaphore leaves the others free.
    conditions = at_noon(reserved={"nas": 71}, semaphore_sizes={"nas": 3, "tuner": 1})
    tuner = a_class(semaphores=(("tuner", 1),))
    assert broken_rules(tuner, a_machine(), conditions=conditions) == {}


def test_a_machine_that_returned_a_job_is_offered_none_for_a_while() -> None:
    text = "returned a job because its own clock says that the hours are closed; next offer in"
    for declined_ms, seconds in ((60_000, 60), (1001, 2), (1000, 1), (1, 1)):
        conditions = at_noon(declined_ms=declined_ms)
        broken = broken_rules(a_class(), a_machine(), conditions=conditions)
        assert broken == {"clock": f"{text} {seconds} s"}
    assert broken_rules(a_class(), a_machine(), conditions=at_noon(declined_ms=0)) == {}


def test_a_clock_skew_is_listed_although_it_breaks_no_rule() -> None:
    skewed = a_machine(clock_skew_ms=8000)
    rules = e.check_rules(a_candidate(a_class(), skewed))
    text = "its clock is 8.0 s ahead of the master's"
    assert rules == [
        e.Rule("rights", True, ""),
        e.Rule("connected", True, ""),
        e.Rule("window", True, ""),
        e.Rule("room", True, ""),
        e.Rule("clock", True, text),
    ]
    # A broken rule tells of it already.
    rules = e.check_rules(a_candidate(a_class(), skewed, conditions=at_noon(declined_ms=1)))
    assert [each for each in rules if each.rule == "clock"] == [
        e.Rule(
            "clock",
            False,
            "returned a job because its own clock says that the hours are closed "
            f"({text}); next offer in 1 s",
        )
    ]


def test_the_level_of_the_command_on_the_machine_counts_its_jobs() -> None:
    settings = e.EffectiveSettings(Hours(((), (), ("00:00-24:00 at most 2",))))
    one = at_noon(RunningAttempt(ATTIC, 7), RunningAttempt(ATTIC, 8), settings=settings)
    assert broken_rules(a_class(), a_machine(), settings, one) == {}
    two = at_noon(*[RunningAttempt(ATTIC, 7)] * 2, settings=settings)
    assert broken_rules(a_class(), a_machine(), settings, two) == {
        "ceiling": "runs at most 2 of flag at this hour"
    }


def test_a_job_that_does_not_fit_is_told_when_the_window_closes() -> None:
    settings = hours("10:00-13:00", closing="requeue")
    conditions = at_noon(settings=settings, typical_s=3601)
    assert broken_rules(a_class(), a_machine(), settings, conditions) == {
        "fits": "closes 13:00, too soon for a job that usually takes 1 h"
    }
    # Hours that never close.
    settings = hours("00:00-24:00", closing="requeue")
    conditions = at_noon(settings=settings, typical_s=10**9)
    assert broken_rules(a_class(), a_machine(), settings, conditions) == {}


def test_hours_without_freeze_need_only_windows() -> None:
    bare = a_machine(can=frozenset())
    assert broken_rules(a_class(), bare, hours("00:00-24:00")) == {
        "limits": "cannot enforce windows by itself"
    }
    able = a_machine(can=frozenset({"windows"}))
    assert broken_rules(a_class(), able, hours("00:00-24:00")) == {}
    every = Bounds(cpu_s=1, idle_s=1, memory_bytes=1, processes=1)
    assert broken_rules(a_class(), bare, e.EffectiveSettings(bounds=every)) == {
        "limits": "cannot enforce cpu, idle, memory, processes by itself; with best_effort = "
        "true the job starts, and these limits are only sampled"
    }
    limits = e.EffectiveSettings(bounds=Bounds(memory_bytes=1, output_bytes=1))
    assert broken_rules(a_class(), bare, limits) == {
        "limits": "cannot enforce memory, output by itself"
    }


def test_policy_rules_alone_decide_what_is_permitted() -> None:
    machine = a_machine(connected=False, running=9)
    assert e.is_permitted(a_class(at_most=0), machine, e.EffectiveSettings())
    assert not e.is_permitted(a_class(pin="den"), machine, e.EffectiveSettings())
    assert not e.is_permitted(a_class(), machine, e.EffectiveSettings(hours_error="no zone"))
    # Limits and zone depend on what the machine reports.
    bare = a_machine(can=frozenset())
    assert e.may_ever_run(a_class(capabilities=("leases",)), bare)
    assert not e.is_permitted(a_class(capabilities=("leases",)), bare, e.EffectiveSettings())
    for changed in ({"pin": "den"}, {"labels": ("gpu",)}):
        assert not e.may_ever_run(a_class(**changed), bare)
    forbidding = a_machine(rights=Rights("listed", frozenset()))
    assert not e.may_ever_run(a_class(), forbidding)


def test_a_free_slot_is_enough_without_hours_ceilings_and_semaphores() -> None:
    plain = e.EffectiveSettings(bounds=Bounds(wall_s=7))
    fit = e.compute_fit(a_class(), a_machine(), plain)
    assert fit == e.MachineFit(plain, True, True)
    ceiling = a_machine(policy=policy_from_table({"commands": {"flag": {"jobs": 1}}}))
    for requirements, machine, settings in (
        (a_class(), a_machine(), hours("00:00-24:00")),
        (a_class(), ceiling, plain),
        (a_class(at_most=3), a_machine(), plain),
        (a_class(semaphores=(("nas", 1),)), a_machine(), plain),
    ):
        assert e.compute_fit(requirements, machine, settings) == e.MachineFit(settings, True, False)
    assert not e.compute_fit(a_class(pin="den"), a_machine(), plain).permitted


def test_settings_are_combined_from_command_machine_and_job() -> None:
    command = Command("flag", limits=Limits(wall_s=60.0), windows=Windows(("22:00-06:00",)))
    policy = policy_from_table({"limits": {"nice": 5}})
    settings = combine_settings(
        command, policy, "Europe/Berlin", Bounds(cpu_s=7.0), (("allow", NOON),)
    )
    night = Hours((("22:00-06:00",), (), ()), "Europe/Berlin", overrides=(("allow", NOON),))
    assert settings == e.EffectiveSettings(night, Bounds(wall_s=60.0, cpu_s=7.0, nice=5))
    unknown = combine_settings(command, policy, "Europe/Bielefeld")
    assert unknown.hours_error.startswith(
        'cannot evaluate its hours: time zone "Europe/Bielefeld" is not known on this machine'
    )
    # Without hours the zone does not matter.
    always = combine_settings(Command("flag"), MachinePolicy(), "Europe/Bielefeld")
    assert always == e.EffectiveSettings()


@pytest.mark.parametrize(
    "changed, expected",
    [
        ({}, None),
        (
            {"enabled": False, "set_aside": "broken"},
            ("disabled", "flag is disabled; enable it with `mythjobs command enable flag`"),
        ),
        ({"set_aside": "broken", "put_off_ms": NOON + 1}, ("set_aside", "broken")),
        ({"put_off_ms": NOON + 1}, ("put_off", "flag is deferred for 1 ms")),
        (
            {"put_off_ms": NOON + 86_400_000, "put_off_reason": "NAS offline"},
            ("put_off", "flag is deferred for 1 d (NAS offline)"),
        ),
        ({"put_off_ms": NOON}, None),
    ],
)
def test_a_command_may_be_stopped_on_all_machines(
    changed: dict[str, Any], expected: tuple[str, str] | None
) -> None:
    assert find_command_stop(a_class(**changed), NOON) == expected
