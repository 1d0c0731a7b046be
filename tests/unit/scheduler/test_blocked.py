"""Reasons why a queued job does not start: each code with its sentence."""

from __future__ import annotations

from typing import Any

import pytest

from mythjobs.model.machine_policy import ALLOW_ALL, MachinePolicy, Rights, policy_from_table
from mythjobs.model.window import Hours
from mythjobs.scheduler import eligibility as e
from mythjobs.scheduler.blocked import (
    REASON_CODES,
    JobFacts,
    add_unknown_machines,
    explain_wait,
    find_job_wait,
)
from mythjobs.scheduler.capacity import RunningAttempt, UsageCounts
from mythjobs.scheduler.window_state import compute_window_state

NOON = 1_795_521_600_000  # Tuesday
HOUR_MS = 3_600_000


def a_job(**changed: Any) -> JobFacts:
    facts: dict[str, Any] = {
        "state": "queued", "command": "flag", "hold": 0, "not_before_ms": None, "unmet": 0,
        "ready": True, "subject": None, "reason_code": "", "reason": "",
    }  # fmt: skip
    return JobFacts(**facts | changed)


@pytest.mark.parametrize(
    "changed, code, sentence",
    [
        ({"hold": 1}, "held", "held; release it with `mythjobs release`"),
        (
            {"hold": 1, "reason_code": "lost_often", "reason": "lost three times"},
            "lost_often",
            "lost three times",
        ),
        ({"hold": 2}, "batch_opening", "its batch is still being submitted"),
        (
            {"not_before_ms": NOON + 24 * HOUR_MS},
            "not_before",
            "waits for its start time (in 1 d)",
        ),
        (
            {"not_before_ms": NOON + 500, "reason": "exit code 1"},
            "not_before",
            "waits for its start time (in 500 ms): exit code 1",
        ),
        ({"not_before_ms": NOON - 1}, "not_before", "waits for its start time (in 0 ms)"),
        ({"unmet": 1, "ready": False}, "dependency", "waits for another job to end"),
        ({"unmet": 3, "ready": False}, "dependency", "waits for 3 other jobs to end"),
        (
            {"ready": False, "subject": "/tv/a.ts"},
            "subject_taken",
            "another job about /tv/a.ts comes first",
        ),
        # The first reason that must end counts.
        (
            {"hold": 1, "not_before_ms": NOON, "unmet": 1},
            "held",
            "held; release it with `mythjobs release`",
        ),
        ({"not_before_ms": NOON, "unmet": 1}, "not_before", "waits for its start time (in 0 ms)"),
    ],
)
def test_a_job_that_is_not_ready_waits_for_one_reason(
    changed: dict[str, Any], code: str, sentence: str
) -> None:
    assert find_job_wait(a_job(**changed), NOON) == (code, sentence)


def test_a_ready_job_does_not_wait() -> None:
    assert find_job_wait(a_job(), NOON) is None
    assert find_job_wait(a_job(subject="/tv/a.ts"), NOON) is None
    assert find_job_wait(a_job(ready=False), NOON) is None


def a_class(**changed: Any) -> e.Requirements:
    facts: dict[str, Any] = {"command": "flag", "command_id": 7, "class_id": 70}
    return e.Requirements(**facts | changed)


def a_candidate(
    name: str = "attic",
    requirements: e.Requirements | None = None,
    settings: e.EffectiveSettings | None = None,
    conditions: dict[str, Any] | None = None,
    **changed: Any,
) -> e.Candidate:
    facts: dict[str, Any] = {
        "name": name, "rights": ALLOW_ALL, "connected": True, "jobs": 4, "running": 0,
        "machine_id": 1, "can": frozenset({"windows"}),
    }  # fmt: skip
    settings = e.EffectiveSettings() if settings is None else settings
    window = None if settings.hours is None else compute_window_state(settings.hours, NOON)
    given: dict[str, Any] = {"counts": UsageCounts(()), "semaphore_sizes": {}, "window": window}
    return e.Candidate(
        a_class() if requirements is None else requirements,
        e.MachineFacts(**facts | changed),
        settings,
        e.Conditions(NOON, **given | (conditions or {})),
    )


def explain(*candidates: e.Candidate) -> tuple[str, str]:
    return explain_wait(candidates[0].requirements, candidates, NOON)


def at(*ranges: str, zone: str = "", closing: str = "finish") -> e.EffectiveSettings:
    return e.EffectiveSettings(Hours((ranges, (), ()), zone, closing))


FORBIDDEN: dict[str, Any] = {"rights": Rights("listed", frozenset())}
NAS = a_class(semaphores=(("nas", 1),))


@pytest.mark.parametrize(
    "candidates, code, sentence",
    [
        (
            [a_candidate(**FORBIDDEN), a_candidate("den", **FORBIDDEN)],
            "not_allowed",
            "will wait: no machine allows flag; allow it with "
            "`mythjobs machine allow MACHINE flag`",
        ),
        (
            [a_candidate(requirements=a_class(pin="cellar"))],
            "no_such_machine",
            "will wait: no machine named cellar has ever joined; it starts there once one does",
        ),
        (
            [a_candidate(requirements=a_class(pin="den")), a_candidate("den", **FORBIDDEN)],
            "pinned",
            "will wait: the job is pinned to den, which does not allow flag",
        ),
        (
            [
                a_candidate(
                    requirements=a_class(labels=("big", "gpu")),
                    policy=MachinePolicy(labels=("big",)),
                ),
                a_candidate("den", a_class(labels=("big", "gpu"))),
            ],
            "no_label",
            "will wait: no machine can run it: attic has no label gpu; den has no label big, gpu",
        ),
        (
            [a_candidate(requirements=a_class(labels=("gpuu",)), found_labels=frozenset({"gpu"}))],
            "no_label",
            'will wait: no machine can run it: attic has no label gpuu (did you mean "gpu"?)',
        ),
        (
            [a_candidate(requirements=a_class(capabilities=("leases",)))],
            "not_enforceable",
            "will wait: no machine can run it: attic cannot enforce leases by itself",
        ),
        (
            [a_candidate(settings=e.EffectiveSettings(hours_error="has no zone"))],
            "unknown_zone",
            "will wait: no machine can run it: attic has no zone",
        ),
        (
            [a_candidate(connected=False), a_candidate("den", connected=False)],
            "not_connected",
            "waits for a machine that allows it: attic, den (not connected)",
        ),
        (
            [
                a_candidate(settings=at("23:00-06:00")),
                a_candidate("den", settings=at("22:00-06:00", zone="Europe/Berlin")),
            ],
            "window_closed",
            "waits for the window of machine den, opens at 22:00 Europe/Berlin (in 9 h)",
        ),
        (
            [
                a_candidate("den", settings=at("22:00-06:00")),
                a_candidate(settings=at("22:00-06:00")),
            ],
            "window_closed",
            "waits for the window of machine attic, opens at 22:00 (in 10 h)",
        ),
        (
            [
                a_candidate(
                    each, settings=e.EffectiveSettings(Hours((("00:00-24:00 off",), (), ())))
                )
                for each in ("attic", "den")
            ],
            "window_closed",
            "will wait: the hours of flag never open on attic, den",
        ),
        (
            [a_candidate(conditions={"declined_ms": 1001}, clock_skew_ms=-8000)],
            "clock_differs",
            "waits: attic returned a job because its own clock says that the hours are closed "
            "(its clock is 8.0 s behind the master's); next offer in 2 s",
        ),
        (
            [
                a_candidate(
                    settings=at("10:00-13:00", closing="requeue"), conditions={"typical_s": 3601.0}
                )
            ],
            "does_not_fit",
            "waits: attic closes 13:00, too soon for a job that usually takes 1 h",
        ),
        (
            [
                a_candidate(
                    policy=policy_from_table({"commands": {"flag": {"jobs": 2}}}),
                    conditions={"counts": UsageCounts([RunningAttempt(1, 7)] * 2)},
                ),
                a_candidate("den", policy=policy_from_table({"commands": {"flag": {"jobs": 0}}})),
            ],
            "ceiling",
            "waits: attic runs at most 2 of flag at once; den runs at most 0 of flag at once",
        ),
        (
            [
                a_candidate(
                    each,
                    a_class(at_most=1),
                    conditions={"counts": UsageCounts([RunningAttempt(9, 7)])},
                )
                for each in ("attic", "den")
            ],
            "at_most",
            "waits: at most 1 of flag run at once",
        ),
        (
            [a_candidate(requirements=NAS)],
            "semaphore",
            "waits: there is no semaphore nas; make it with `mythjobs semaphore set nas N`",
        ),
        (
            [a_candidate(running=4), a_candidate("den", jobs=1, running=2)],
            "no_room",
            "waits for a free slot on attic (4 in use), den (1 in use)",
        ),
        (
            # "0 in use" was said of a machine that may run no job.
            [a_candidate(running=4), a_candidate("den", jobs=0)],
            "no_room",
            "waits for a free slot on attic (4 in use), den (its limit is 0 jobs; "
            "`mythjobs machine set den --jobs N` changes it)",
        ),
        (
            # "64 in use" was said of a machine that ran one job and had no CPU time left.
            [
                a_candidate(jobs=64, no_room={"flag": "its 2 cores are in use"}),
                a_candidate("den", jobs=1, running=1),
            ],
            "no_room",
            "waits for room on attic: its 2 cores are in use; den: no free slot (1 in use)",
        ),
        ([a_candidate(**FORBIDDEN), a_candidate("den")], "starting", "is about to start"),
    ],
)
def test_the_rule_that_excludes_the_last_machines_is_the_reason(
    candidates: list[e.Candidate], code: str, sentence: str
) -> None:
    assert explain(*candidates) == (code, sentence)


def test_a_stopped_command_and_a_cluster_without_machines_are_reasons() -> None:
    assert explain_wait(a_class(enabled=False), [a_candidate()], NOON)[0] == "disabled"
    deferred = a_class(put_off_ms=NOON + 1)
    assert explain_wait(deferred, [a_candidate()], NOON)[0] == "put_off"
    assert explain_wait(deferred, [a_candidate()], NOON + 1)[0] == "starting"
    assert explain_wait(a_class(), [], NOON) == (
        "no_machine",
        "no machine has joined yet; `mythjobs up` adds one within seconds",
    )
    assert explain_wait(a_class(pin="den"), [], NOON)[0] == "no_such_machine"


def test_machines_that_never_joined_are_added_to_a_reason() -> None:
    reason = ("no_room", "waits")
    both = a_class(pin="den", preferred=("attic", "barn", "loft"))
    assert add_unknown_machines(reason, both, ["attic"]) == (
        "no_room",
        "waits; the job is pinned to den, and no machine of that name has ever joined; the job "
        "prefers barn, loft, and no machine of that name has ever joined",
    )
    assert add_unknown_machines(reason, both, ["attic", "barn", "den", "loft"]) == reason
    # The reason says it already.
    told = ("no_such_machine", "will wait")
    assert add_unknown_machines(told, a_class(pin="den"), ["attic"]) == told


def test_every_rule_has_a_code() -> None:
    assert [name for name, _ in e.ALL_RULES] == list(REASON_CODES)
    assert len(set(REASON_CODES.values())) == len(REASON_CODES)
