"""Batches: start times, deadlines, holds and validation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mythjobs.errors import BadRequest
from mythjobs.master import requests
from mythjobs.master.handlers import batches
from mythjobs.model.command import Command
from mythjobs.protocol.requests import BatchSubmit
from mythjobs.store.invariants.run import check
from mythjobs.store.writes import commands
from tests.unit.master.harness import NOON, Harness


def _batch(
    master: Harness,
    jobs: int,
    *,
    hold: bool = False,
    subject: str | None = None,
    **times: Any,
) -> list[int]:
    with master.store.snapshot() as tx:
        defined = commands.find_by_name(tx, "flag")
    assert defined is not None
    rows = [requests.BatchRow("{}", subject and f"{subject} {n}") for n in range(jobs)]
    ids = master.request(
        requests.BatchSlice(
            None, "flag", defined.revision_id, "anna", 0, rows, 0, hold, "", True, **times
        )
    )
    # Each turn makes one slice of jobs ready.
    for _ in range(jobs // 500):
        master.turn()
    return list(range(ids.first_job_id, ids.first_job_id + jobs))


def _check_store(master: Harness) -> None:
    with master.store.snapshot() as tx:
        assert check(tx) == []


@pytest.mark.parametrize("subject", [None, "news"])
def test_a_batch_starts_at_its_start_time(master: Harness, subject: str | None) -> None:
    master.join("attic", 9)
    master.define()
    jobs = _batch(master, 3, not_before_ms=NOON + 60_000, subject=subject)
    assert master.explain(jobs[0])["code"] == "not_before"
    master.advance(59)
    assert master.take_grants() == []
    master.advance(1)
    assert master.take_grants() == jobs
    _check_store(master)


def test_each_turn_makes_a_part_of_a_large_batch_ready(master: Harness) -> None:
    master.define()
    jobs = _batch(master, 1200, not_before_ms=NOON + 60_000)
    master.advance(60)
    assert master.explain(jobs[-1])["code"] == "not_before"
    for _ in range(4):
        assert master.core.state.next_due_ms is not None
        assert master.core.state.next_due_ms <= master.now.wall_ms
        master.turn()
    assert master.explain(jobs[-1])["code"] == "no_machine"
    _check_store(master)


def test_jobs_of_a_batch_that_miss_the_deadline_are_cancelled(master: Harness) -> None:
    master.join("attic", 1)
    master.define()
    jobs = _batch(master, 3, deadline_ms=NOON + 60_000)
    assert master.take_grants() == jobs[:1]
    master.advance(60)
    assert [master.state(each) for each in jobs[1:]] == ["cancelled", "cancelled"]
    assert master.explain(jobs[1])["code"] == "deadline_passed"
    _check_store(master)


def test_a_deadline_that_passes_before_the_batch_is_ready_counts(master: Harness) -> None:
    master.define()
    jobs = _batch(master, 3, deadline_ms=NOON - 1)
    master.turn()
    assert {master.state(each) for each in jobs} == {"cancelled"}
    _check_store(master)


def test_a_released_batch_still_waits_for_its_start_time(master: Harness) -> None:
    master.join("attic", 9)
    master.define()
    jobs = _batch(master, 2, hold=True, not_before_ms=NOON + 60_000)
    assert master.explain(jobs[0])["code"] == "held"
    master.request(requests.ReleaseJobs(jobs))
    assert master.explain(jobs[0])["code"] == "not_before"
    master.advance(60)
    assert master.take_grants() == jobs


def test_a_deadline_before_the_start_time_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "batch"
    path.write_text("{}")
    header = BatchSubmit("flag", not_before_ms=NOON, deadline_ms=NOON - 1)
    with pytest.raises(BadRequest, match="the deadline is before the start time"):
        batches.check_rows(path, Command("flag", argv=("/bin/true",)), header)


@pytest.mark.parametrize("held", [False, True])
def test_a_job_can_be_cancelled_before_its_batch_is_ready(master: Harness, held: bool) -> None:
    master.define()
    with master.store.snapshot() as tx:
        defined = commands.find_by_name(tx, "flag")
    assert defined is not None
    rows = [requests.BatchRow("{}", None) for _ in range(700)]
    ids = master.request(
        requests.BatchSlice(None, "flag", defined.revision_id, "anna", 0, rows, 0, held, "", True)
    )
    last = ids.first_job_id + 699
    [acted] = master.request(requests.CancelJobs([last], "anna"))
    assert acted.done == "cancelled"
    master.turn()
    assert master.state(last) == "cancelled"
    _check_store(master)


@pytest.mark.parametrize(
    "header, error",
    [
        (BatchSubmit("flag", priority=101), "priority 101 is not between"),
        (BatchSubmit("flag", comment="a\0b"), "NUL"),
        (BatchSubmit("flag", comment="a" * 10_001), "at most 10000 characters"),
    ],
)
def test_a_batch_is_validated_like_a_single_job(
    tmp_path: Path, header: BatchSubmit, error: str
) -> None:
    path = tmp_path / "batch"
    path.write_text("{}\n")
    with pytest.raises(BadRequest, match=error):
        batches.check_rows(path, Command("flag", argv=("/bin/true",)), header)
