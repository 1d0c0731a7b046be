"""Statistics of a command's last jobs."""

from __future__ import annotations

import json

from mythjobs.model.life import JobEvent
from mythjobs.store.open import Store
from mythjobs.store.queries.statistics import (
    compute_percentile,
    compute_statistics,
    read_run_times,
)
from mythjobs.store.writes import commands
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
