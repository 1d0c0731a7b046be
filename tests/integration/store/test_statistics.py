"""Statistics of a command's last jobs."""

from __future__ import annotations

import json

from mythjobs.model.life import JobEvent
from mythjobs.store.open import Store
from mythjobs.store.queries.commands import list_commands, read_command
from mythjobs.store.queries.statistics import (
    compute_percentile,
    compute_statistics,
    read_run_times,
    summarize_recent,
)
from mythjobs.store.writes import commands, job_state
from tests.support import queue as q


def _usage(wall_s: float) -> str:
    return json.dumps(
        {"wall_s": wall_s, "user_s": 0.5, "system_s": 0.25, "read_bytes": 10, "peak_bytes": 7}
    )


def test_a_command_that_never_ran_has_no_statistics(store: Store) -> None:
    with store.transaction() as tx:
        q.queue_job(tx)
        found = compute_statistics(tx, 1)
    assert found["jobs"] == found["runs"] == 0
    assert found["success_rate"] is found["median_s"] is found["p90_s"] is None


def test_statistics_cover_one_command_and_ignore_cancelled_jobs_in_the_rate(
    store: Store,
) -> None:
    with store.transaction() as tx:
        q.enrol_machines(tx)
        q.queue_jobs(tx, 5)
        other = q.queue_job(tx, command="other")
        q.run(tx, other, usage=_usage(99.0))
        q.run(tx, 1, JobEvent.REQUEUED, usage=_usage(1.0))
        q.run(tx, 1, usage=_usage(2.0))
        q.run(tx, 2, usage=_usage(3.0))
        q.run(tx, 3, JobEvent.FAILED, usage=_usage(4.0))
        q.run(tx, 4, JobEvent.CANCELLED, usage=_usage(5.0))
        found = compute_statistics(tx, 1)
    assert (found["jobs"], found["runs"]) == (4, 5)
    assert (found["succeeded"], found["failed"], found["cancelled"]) == (2, 1, 1)
    assert found["success_rate"] == 2 / 3
    assert (found["median_s"], found["p90_s"]) == (3.0, 5.0)
    assert (found["cpu_median_s"], found["cpu_total_s"]) == (0.75, 3.75)
    assert (found["read_bytes"], found["peak_bytes"]) == (50, 7)


def test_statistics_cover_only_the_last_jobs(store: Store) -> None:
    with store.transaction() as tx:
        q.enrol_machines(tx)
        for number, job_id in enumerate(q.queue_jobs(tx, 4)):
            q.run(tx, job_id, usage=_usage(number), at_ms=q.NOON + number)
        defined = commands.find_by_name(tx, "true")
        assert defined is not None
        found = compute_statistics(tx, defined.command_id, max_jobs=2)
    assert (found["jobs"], found["median_s"]) == (2, 2.5)


def test_recent_jobs_are_the_last_ones_of_one_command(store: Store) -> None:
    with store.transaction() as tx:
        q.enrol_machines(tx)
        assert summarize_recent(tx, 1, is_run=False)["jobs"] == 0
        for number, job_id in enumerate(q.queue_jobs(tx, 6)):
            event = JobEvent.FAILED if number in (0, 4) else JobEvent.SUCCEEDED
            q.run(tx, job_id, event, usage=_usage(10.0 * number), at_ms=q.NOON + number)
        q.run(tx, q.queue_job(tx, command="other"), usage=_usage(99.0), at_ms=q.NOON + 9)
        job_state.cancel_queued(
            tx, [q.queue_job(tx)], code="cancelled", sentence="", at_ms=q.NOON + 9
        )
        found = summarize_recent(tx, 1, is_run=False, max_jobs=5)
    # The oldest two jobs are left out, and the failed one's run time.
    assert found == {
        "jobs": 5, "succeeded": 3, "failed": 1, "cancelled": 1, "success_rate": 0.75,
        "usual_s": 30.0,
    }  # fmt: skip


def test_usual_run_time_is_without_frozen_time_and_not_of_different_programs(store: Store) -> None:
    usage = json.dumps({"wall_s": 100.0, "frozen_s": 40.0})
    with store.transaction() as tx:
        q.enrol_machines(tx)
        q.run(tx, q.queue_job(tx), usage=usage)
        found = [summarize_recent(tx, 1, is_run=each)["usual_s"] for each in (False, True)]
    assert found == [60.0, None]


def test_commands_are_listed_with_their_recent_jobs_on_request(store: Store) -> None:
    with store.transaction() as tx:
        q.enrol_machines(tx)
        q.run(tx, q.queue_job(tx), usage=_usage(3.0))
        q.queue_job(tx, command="other")
        plain, full = (list_commands(tx, statistics=each)["commands"] for each in (False, True))
        shown = read_command(tx, "true", statistics=True)
    assert [each["recent"] for each in plain] == [None] * len(plain)
    recent = {each["name"]: each["recent"] for each in full}
    assert recent["true"] is not None
    assert recent["other"] is not None
    assert (recent["true"]["usual_s"], recent["true"]["success_rate"]) == (3.0, 1.0)
    assert (recent["other"]["jobs"], recent["other"]["success_rate"]) == (0, None)
    assert shown["recent"] == recent["true"]


def test_run_times_of_ad_hoc_runs_are_those_of_equal_programs(store: Store) -> None:
    def run(argv: list[str], wall_s: float, event: JobEvent = JobEvent.SUCCEEDED) -> None:
        arguments = json.dumps({"argv": argv, "env": {"SHLVL": str(wall_s)}})
        q.run(tx, q.queue_job(tx, command="run", arguments=arguments), event, usage=_usage(wall_s))

    with store.transaction() as tx:
        q.enrol_machines(tx)
        for wall_s in (2.0, 3.0, 40.0):
            run(["rsync", "a"], wall_s)
        run(["rsync", "b"], 7.0)
        run(["rsync", "b"], 1000.0, JobEvent.FAILED)
        q.run(tx, q.queue_job(tx), usage=_usage(5.0))
        defined = commands.find_by_name(tx, "run")
        assert defined is not None
        found = read_run_times(tx, defined.command_id)
    assert found == {("rsync", "a"): 3.0, ("rsync", "b"): 7.0}


def test_a_percentile_is_one_of_the_values() -> None:
    assert compute_percentile([1.0], 90) == 1.0
    assert compute_percentile([float(each) for each in range(1, 11)], 90) == 9.0
    assert compute_percentile([3.0, 1.0], 50) == 1.0
