"""Each rule of eligibility, alone: met, not met, and what is said."""

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


_ANY = e.EffectiveSettings()


def a_machine(**changed: Any) -> e.MachineFacts:
    facts: dict[str, Any] = {
        "name": "attic", "rights": ALLOW_ALL, "connected": True, "jobs": 4, "running": 0,
        "machine_id": ATTIC, "can": ALL,
    }  # fmt: skip
    return e.MachineFacts(**facts | changed)


def a_moment(
    *running: RunningAttempt, site: e.EffectiveSettings | None = None, **changed: Any
) -> e.Conditions:
    here = (
        compute_window_state(site.hours, NOON)
        if site is not None and site.hours is not None
        else None
    )
    facts: dict[str, Any] = {
        "now_ms": NOON, "counts": UsageCounts(running), "semaphore_sizes": {"nas": 3}, "window": here,
    }  # fmt: skip
    return e.Conditions(**facts | changed)


def an_ask(**changed: Any) -> e.Requirements:
    facts: dict[str, Any] = {"command": "flag", "command_id": 7, "class_id": 70}
    return e.Requirements(**facts | changed)


def hours(
    *open_: str, closing: str = "finish", machine: tuple[str, ...] = ()
) -> e.EffectiveSettings:
    return e.EffectiveSettings(Hours((open_, machine, ()), "", closing))


def broken(
    ask: e.Requirements,
    machine: e.MachineFacts,
    site: e.EffectiveSettings = _ANY,
    moment: e.Conditions | None = None,
) -> dict[str, str]:
    """The rules that are not met, and what is said of each."""
    moment = a_moment(site=site) if moment is None else moment
    return {
        each.rule: each.detail for each in e.check_rules(ask, machine, site, moment) if not each.ok
    }


def test_what_nobody_forbids_may_run() -> None:
    assert broken(an_ask(), a_machine()) == {}
    assert (
        explain_wait(an_ask(), [(a_machine(), e.EffectiveSettings(), a_moment())], NOON)[0]
        == "starting"
    )


@pytest.mark.parametrize(
    "ask,machine,rule,said",
    [
        ({}, {"rights": Rights("listed", frozenset())}, "rights", "flag is not allowed here"),
        ({"pin": "cellar"}, {}, "pin", "it is pinned to cellar"),
        (
            {"labels": ("big", "gpu")},
            {"policy": MachinePolicy(labels=("big",))},
            "labels",
            "has no label gpu",
        ),
        ({}, {"connected": False}, "connected", "not connected"),
        ({}, {"running": 4}, "room", "all 4 places are taken"),
        (
            {"capabilities": ("leases",)},
            {"can": frozenset()},
            "limits",
            "cannot enforce leases by itself",
        ),
    ],
)
def test_a_rule_of_the_machine_is_told(
    ask: dict[str, Any], machine: dict[str, Any], rule: str, said: str
) -> None:
    assert broken(an_ask(**ask), a_machine(**machine)) == {rule: said}


def test_a_limit_that_a_machine_cannot_keep_is_said_unless_best_effort_will_do() -> None:
    site = e.EffectiveSettings(bounds=Bounds(wall_s=60, memory_bytes=2**30, grace_s=3))
    bare = a_machine(can=frozenset())
    assert broken(an_ask(), bare, site) == {
        "limits": "cannot enforce memory by itself; best_effort = true takes what it can"
    }
    assert broken(an_ask(best_effort=True), bare, site) == {}
    assert broken(an_ask(), a_machine(), site) == {}
    # An output limit is no matter of looking now and then.
    site = e.EffectiveSettings(bounds=Bounds(output_bytes=1))
    assert broken(an_ask(best_effort=True), bare, site) == {
        "limits": "cannot enforce output by itself"
    }


def test_hours_need_a_machine_that_keeps_them_alone() -> None:
    site = hours("00:00-24:00", closing="freeze")
    assert broken(an_ask(), a_machine(can=frozenset({"windows"})), site) == {
        "limits": "cannot enforce freeze by itself"
    }


def test_a_closed_window_says_when_it_opens() -> None:
    assert broken(an_ask(), a_machine(), hours("22:00-06:00")) == {"window": "opens 22:00"}
    assert broken(an_ask(), a_machine(), hours("mon 22:00-06:00")) == {"window": "opens mon 22:00"}
    never = e.EffectiveSettings(Hours((("mon 10:00-11:00",), ("tue 10:00-11:00",), ())))
    assert broken(an_ask(), a_machine(), never) == {"window": "its hours never open"}


@pytest.mark.parametrize("closing", ["requeue", "terminate"])
def test_what_does_not_fit_is_not_started_unless_it_may_finish(closing: str) -> None:
    site = hours("10:00-13:00", closing=closing)
    for typical_s, fits in ((3600, True), (3601, False), (None, True)):
        moment = a_moment(site=site, typical_s=typical_s)
        assert (broken(an_ask(), a_machine(), site, moment) == {}) is fits
    for patient in ("finish", "freeze"):
        site = hours("10:00-13:00", closing=patient)
        moment = a_moment(site=site, typical_s=10**6)
        assert broken(an_ask(), a_machine(), site, moment) == {}


def test_each_level_counts_those_of_whom_it_is_said() -> None:
    of_it, of_other = RunningAttempt(ATTIC, 7), RunningAttempt(ATTIC, 8)
    elsewhere = RunningAttempt(2, 7)
    site = hours("00:00-24:00 at most 1", machine=("00:00-24:00 at most 3",))
    assert broken(an_ask(), a_machine(), site, a_moment(of_other, elsewhere, site=site)) == {}
    assert broken(an_ask(), a_machine(), site, a_moment(of_it, site=site)) == {
        "ceiling": "at most 1 of flag at this hour"
    }
    full = a_moment(of_other, of_other, of_other, site=site)
    assert broken(an_ask(), a_machine(), site, full) == {"ceiling": "at most 3 at this hour"}


def test_ceilings_of_the_owner_and_of_the_author() -> None:
    owner = policy_from_table({"commands": {"flag": {"jobs": 1}}})
    assert broken(an_ask(), a_machine(policy=owner), moment=a_moment(RunningAttempt(ATTIC, 7))) == {
        "ceiling": "at most 1 of flag at once here"
    }
    both = a_moment(RunningAttempt(2, 7), RunningAttempt(3, 7))
    assert broken(an_ask(at_most=2), a_machine(), moment=both) == {
        "at_most": "at most 2 of flag at once"
    }


def test_a_weighted_semaphore_is_taken_by_units() -> None:
    ask = an_ask(semaphores=(("nas", 2),))
    one = RunningAttempt(2, 9, (("nas", 1),))
    assert broken(ask, a_machine(), moment=a_moment(one)) == {}
    assert broken(ask, a_machine(), moment=a_moment(one, one)) == {
        "semaphores": "2 of 3 of semaphore nas are taken"
    }
    assert broken(an_ask(semaphores=(("nas", 4),)), a_machine()) == {
        "semaphores": "takes 4 of semaphore nas, which has 3"
    }
    assert "there is no semaphore tuner" in str(
        broken(an_ask(semaphores=(("tuner", 1),)), a_machine())
    )


def test_units_that_are_kept_for_another_class_are_not_taken() -> None:
    ask = an_ask(semaphores=(("nas", 1),))
    assert "is kept for a job that waited long" in str(
        broken(ask, a_machine(), moment=a_moment(reserved={"nas": 71}))
    )
    assert broken(ask, a_machine(), moment=a_moment(reserved={"nas": 70})) == {}


@pytest.mark.parametrize(
    "changed,code,said",
    [
        ({"enabled": False}, "disabled", "flag is disabled; `mythjobs command enable flag`"),
        (
            {"put_off_ms": NOON + 90_000, "put_off_reason": "NAS offline"},
            "put_off",
            "flag is put off for 1 min 30 s (NAS offline)",
        ),
        ({"pin": "cellar"}, "no_such_machine", "no machine named cellar has ever joined"),
        ({"labels": ("gpu",)}, "no_label", "attic has no label gpu"),
        ({"semaphores": (("nas", 4),)}, "semaphore", "takes 4 of semaphore nas, which has 3"),
    ],
)
def test_the_reason_has_a_stable_code_and_one_sentence(
    changed: dict[str, Any], code: str, said: str
) -> None:
    told = explain_wait(an_ask(**changed), [(a_machine(), e.EffectiveSettings(), a_moment())], NOON)
    assert told[0] == code
    assert said in told[1]


def test_the_reason_names_the_machines_that_come_furthest() -> None:
    night = hours("22:00-06:00")
    places = [
        (
            a_machine(name="attic", rights=Rights("listed", frozenset())),
            e.EffectiveSettings(),
            a_moment(),
        ),
        (a_machine(name="cellar", connected=False), e.EffectiveSettings(), a_moment()),
        (a_machine(name="den"), night, a_moment(site=night)),
    ]
    assert explain_wait(an_ask(), places, NOON) == (
        "window_closed", "waits for the window of machine den, opens at 22:00 (in 10 h)",
    )  # fmt: skip
    assert explain_wait(an_ask(), places[:2], NOON)[0] == "not_connected"
    assert explain_wait(an_ask(), places[:1], NOON)[0] == "not_allowed"
    assert explain_wait(an_ask(), [], NOON)[0] == "no_machine"


def test_what_is_told_is_what_decides() -> None:
    # By construction: both ask the same checks. This holds the two lists together.
    names = {name for name, _ in e.ALL_RULES}
    assert names == {name for name, _ in (*e.POLICY_RULES, *e.STATE_RULES)} | {"connected", "room"}
    site = hours("22:00-06:00")
    moment = a_moment(site=site)
    assert e.is_permitted(an_ask(), a_machine(), site, moment)
    assert e.find_blocking_rule(an_ask(), a_machine(), site, moment) == "window"
