"""Changes of queued jobs: one turn changes a job or refuses, and no attempt mixes old and new."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from mythjobs.errors import BadRequest
from mythjobs.master import requests
from mythjobs.protocol import messages as m
from mythjobs.protocol.job_changes import JobChanges
from mythjobs.protocol.requests import JobActionResult
from mythjobs.store.invariants.run import check as check_invariants
from tests.unit.master.harness import NOON, Harness

HOUR_MS = 3_600_000
PARAMETERS = [{"name": "source", "type": "path"}, {"name": "preset", "default": "fast"}]


def define(master: Harness, **table: Any) -> None:
    master.define("encode", parameters=PARAMETERS, **table)


def submit(master: Harness, source: str = "/a", **fields: Any) -> int:
    return master.submit("encode", arguments={"source": source}, **fields).id


def change(master: Harness, job_ids: list[int], **changes: Any) -> list[JobActionResult]:
    converted = msgspec.convert(changes, JobChanges)
    results = master.request(requests.SetJobs(job_ids, converted, "ben"))
    assert isinstance(results, list)
    return results


def change_one(master: Harness, job_id: int, **changes: Any) -> Mapping[str, Any]:
    [result] = change(master, [job_id], **changes)
    assert not result.error, result.error
    return master.shown_job(job_id)


def error(master: Harness, job_id: int, **changes: Any) -> str:
    [result] = change(master, [job_id], **changes)
    return result.error


def test_a_start_time_is_moved_and_lifted(master: Harness) -> None:
    define(master)
    master.join("attic")
    job_id = submit(master, not_before_ms=NOON + HOUR_MS)
    later = change_one(master, job_id, not_before_ms=NOON + 2 * HOUR_MS)
    assert later["not_before_ms"] == NOON + 2 * HOUR_MS
    assert later["reason"]["code"] == "not_before"
    [event] = later["events"]
    assert event["kind"] == "changed"
    assert event["detail"] == (
        "start time Tue 2026-11-24 14:00 UTC instead of Tue 2026-11-24 13:00 UTC, by ben"
    )
    master.advance(3600)
    assert master.take_grants() == []
    master.advance(3600)
    assert master.take_grants() == [job_id]

    waiting = submit(master, not_before_ms=NOON + 9 * HOUR_MS)
    change_one(master, waiting, not_before_ms=0)
    assert master.take_grants() == [waiting]


def test_a_ready_job_that_gets_a_start_time_does_not_start(master: Harness) -> None:
    define(master)
    attic = master.join("attic", 1)
    running, waiting = submit(master), submit(master)
    assert master.take_grants() == [running]
    change_one(master, waiting, not_before_ms=NOON + HOUR_MS)
    master.finish(attic, running)
    assert master.take_grants() == []
    master.advance(3600)
    assert master.take_grants() == [waiting]


def test_the_start_after_a_failure_can_be_moved(master: Harness) -> None:
    define(master, retry={"failures": 1, "backoff": "1h"})
    attic = master.join("attic")
    job_id = submit(master)
    assert master.take_grants() == [job_id]
    master.finish(attic, job_id, code=1)
    assert "exit code 1" in master.explain(job_id)["sentence"]
    change_one(master, job_id, not_before_ms=0, arguments={"preset": "slow"})
    [grant] = master.received(m.Grant, "attic")
    assert (grant.job, grant.n, grant.run.env["MYTHJOBS_P_PRESET"]) == (job_id, 2, "slow")


def test_changed_arguments_run_and_give_the_subject(master: Harness) -> None:
    define(master, subject="{source}")
    first, second = submit(master), submit(master)
    other = submit(master, "/b", hold=True)
    changed = change_one(master, first, arguments={"source": "/b", "preset": "slow"})
    assert changed["arguments"] == {"source": "/b", "preset": "slow"}
    assert changed["subject"] == "/b"
    [event] = changed["events"]
    assert event["detail"] == (
        'source "/b" instead of "/a", preset "slow" instead of "fast", subject "/b" instead of '
        '"/a", by ben'
    )
    # Both run at once, as they are about different files now; a job about the same file waits.
    master.join("attic", 4)
    grants = {each.job: each for each in master.received(m.Grant, "attic")}
    assert grants.keys() == {first, second}
    assert grants[first].run.env["MYTHJOBS_P_SOURCE"] == "/b"
    master.request(requests.ReleaseJobs([other]))
    assert master.explain(other)["code"] == "subject_taken"
    change_one(master, other, arguments={"source": "/c"})
    assert master.take_grants()[-1:] == [other]


def test_a_job_can_get_and_lose_a_subject(master: Harness) -> None:
    define(master)
    ids = [submit(master, subject="x"), submit(master, subject="x"), submit(master)]
    change_one(master, ids[1], subject="")
    change_one(master, ids[2], subject="x")
    master.join("attic", 4)
    assert master.take_grants() == ids[:2]
    with master.store.snapshot() as tx:
        assert check_invariants(tx) == []


def test_a_job_moves_to_another_machine(master: Harness) -> None:
    """The cache of next jobs has the job in its old class, in which any machine may run it."""
    define(master)
    attic = master.join("attic", 1)
    running, waiting, last = submit(master), submit(master), submit(master)
    assert master.take_grants() == [running]
    changed = change_one(
        master, waiting, machine="cellar", await_machine=True, limits={"wall": "1h"}
    )
    assert (changed["machine"], changed["limits"]) == ("cellar", {"wall": "1h"})
    assert changed["submitter"] == "anna"
    assert changed["events"][0]["detail"] == (
        "machine cellar instead of none, limits wall=1h instead of none, by ben"
    )
    master.finish(attic, running)
    assert master.take_grants() == [last]
    master.join("cellar", 1)
    [grant] = master.received(m.Grant, "cellar")
    assert (grant.job, grant.run.wall_s) == (waiting, 3600)


def test_priority_deadline_and_comment_change_the_order(master: Harness) -> None:
    define(master)
    first, second, third = submit(master), submit(master), submit(master)
    change_one(master, third, priority=5, comment="urgent")
    changed = change_one(master, second, deadline_ms=NOON + HOUR_MS)
    assert changed["deadline_ms"] == NOON + HOUR_MS
    attic = master.join("attic", 1)
    order = []
    for _ in range(3):
        order += master.take_grants()
        master.finish(attic, order[-1])
    assert order == [third, second, first]
    late = submit(master, hold=True)
    change_one(master, late, deadline_ms=NOON + HOUR_MS)
    master.advance(3601)
    assert master.state(late) == "cancelled"


def test_what_does_not_wait_is_refused(master: Harness) -> None:
    define(master)
    attic = master.join("attic", 1)
    running = submit(master)
    assert master.take_grants() == [running]
    assert error(master, running, priority=1) == (
        f"job {running} is leased; only queued jobs can be changed"
    )
    master.finish(attic, running)
    assert error(master, running, priority=1) == (
        f"job {running} has already ended (succeeded); `mythjobs rerun` takes the same options"
    )
    assert error(master, 99, priority=1) == "there is no job 99"


def test_a_change_and_the_room_for_the_job_in_one_turn(master: Harness) -> None:
    """The change is decided before the job is placed, or after: the grant has all new values."""
    define(master)
    job_id = submit(master, hold=True)
    master.join("attic")
    changes = JobChanges(arguments={"source": "/b", "preset": "slow"})
    master.turn(requests.ReleaseJobs([job_id]), requests.SetJobs([job_id], changes, "ben"))
    [grant] = master.received(m.Grant, "attic")
    assert grant.run.env["MYTHJOBS_P_SOURCE"] == "/b"
    assert grant.run.env["MYTHJOBS_P_PRESET"] == "slow"
    assert error(master, job_id, priority=1).startswith(f"job {job_id} is leased")


def test_a_refused_value_changes_nothing_of_the_job(master: Harness) -> None:
    define(master)
    job_id = submit(master, deadline_ms=NOON + HOUR_MS)
    refused: list[tuple[dict[str, Any], str]] = [
        ({"arguments": {"speed": "1"}}, 'has no parameter "speed"'),
        ({"arguments": {"source": "b"}}, "must be an absolute path"),
        ({"limits": {"speed": "1"}}, "limits.speed: unknown key"),
        ({"machine": "attic"}, 'there is no machine "attic"'),
        ({"not_before_ms": NOON + 2 * HOUR_MS}, "the deadline is before the start time"),
    ]
    for changes, sentence in refused:
        values = {"comment": "new", "arguments": {"preset": "slow"}} | changes
        assert sentence in error(master, job_id, **values)
    shown = master.shown_job(job_id)
    assert (shown["comment"], shown["arguments"]["preset"]) == ("", "fast")
    assert shown["events"] == []
    with pytest.raises(BadRequest, match="101 is not between"):
        change(master, [job_id], priority=101)


def test_values_that_a_job_has_already_change_nothing(master: Harness) -> None:
    define(master)
    job_id = submit(master, priority=3)
    [same] = change(master, [job_id], priority=3, arguments={"preset": "fast"}, not_before_ms=1)
    assert (same.done, same.error, same.changed) == ("has these values already", "", False)
    assert master.shown_job(job_id)["events"] == []


def test_a_lost_attempt_keeps_the_arguments_that_its_late_result_is_about(master: Harness) -> None:
    define(master, silence="hold", lease="10m")
    attic = master.join("attic", 1)
    job_id = submit(master)
    assert master.take_grants() == [job_id]
    master.disconnect(attic)
    master.advance(24 * 3600)
    master.turn(requests.LeaseTick(master.now.steady_ms))
    assert master.state(job_id) == "queued"
    refused = error(master, job_id, arguments={"preset": "slow"})
    assert refused.startswith(f"job {job_id}: its attempt 1 was lost, and may still report")
    # Other values do not tell what the program did.
    assert change_one(master, job_id, priority=4)["priority"] == 4
    attic = master.join("attic", 1)
    master.finish(attic, job_id)
    assert master.state(job_id) == "succeeded"


def test_a_job_that_no_machine_can_read_is_tried_at_once_with_another_file(
    master: Harness,
) -> None:
    master.define("encode", parameters=[{"name": "source", "type": "path", "exists": True}])
    attic = master.join("attic", 1)
    job_id = submit(master)
    assert master.take_grants() == [job_id]
    [(_, n)] = master.attempts["attic"]
    master.attempts["attic"].clear()
    master.send_frame(attic, m.Returned(job_id, n, "not visible", m.NOT_VISIBLE, "/a"))
    assert master.explain(job_id)["code"] == "not_visible"
    change_one(master, job_id, arguments={"source": "/b"})
    assert master.take_grants() == [job_id]


def test_a_failed_command_is_still_counted_after_a_change(master: Harness) -> None:
    define(master, retry={"failures": 1})
    attic = master.join("attic", 1)
    job_id = submit(master)
    assert master.take_grants() == [job_id]
    master.finish(attic, job_id, code=1)
    change_one(master, job_id, not_before_ms=0, arguments={"preset": "slow"})
    assert master.take_grants() == [job_id]
    master.finish(attic, job_id, code=1)
    assert master.state(job_id) == "failed"
