"""Job rows: ids, keys, flags, progress, events; rollback and snapshots."""

from __future__ import annotations

import json
import string
from random import Random

import pytest

from mythjobs.master.handlers.submit import MAX_REQUIREMENT_BYTES, MAX_SUBJECT_BYTES
from mythjobs.model.life import JobEvent, JobState
from mythjobs.store.invariants.run import check
from mythjobs.store.open import Store
from mythjobs.store.queries.commands import read_queue_counts
from mythjobs.store.queries.job_details import read_job
from mythjobs.store.queries.jobs import list_jobs
from mythjobs.store.transaction import Transaction
from mythjobs.store.writes import commands, events, jobs, readiness
from tests.support import queue as q


def test_job_ids_only_rise(store: Store) -> None:
    with store.transaction() as tx:
        assert jobs.read_next_id(tx) == 1
        jobs.save_next_id(tx, 40)
    with store.transaction() as tx:
        assert jobs.read_next_id(tx) == 40
        assert q.queue_job(tx) == 40


def test_a_key_finds_its_job_and_is_unique(store: Store) -> None:
    with store.transaction() as tx:
        job_id = q.queue_job(tx, key="once")
        assert jobs.find_by_key(tx, "once") == (job_id, "queued")
        assert jobs.find_by_key(tx, "twice") is None
    with pytest.raises(Exception, match=r"(?i)unique"), store.transaction() as tx:
        q.queue_job(tx, key="once")
    with store.transaction() as tx:
        assert check(tx) == []


def test_a_transaction_that_raises_is_rolled_back(store: Store) -> None:
    def body(tx: Transaction) -> None:
        q.queue_jobs(tx, 3)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store.run_transaction(body)
    with store.transaction() as tx:
        assert check(tx) == []
        assert read_queue_counts(tx)["counts"]["queued"] == 0
        assert q.queue_job(tx) == 1


def test_a_snapshot_does_not_see_later_commits(store: Store) -> None:
    with store.transaction() as tx:
        q.queue_job(tx)
    with store.snapshot() as before:
        assert len(list_jobs(before)["jobs"]) == 1
        with store.transaction() as tx:
            q.queue_job(tx)
        assert len(list_jobs(before)["jobs"]) == 1
    with store.snapshot() as after:
        assert len(list_jobs(after)["jobs"]) == 2


def test_a_snapshot_cannot_write(store: Store) -> None:
    with pytest.raises(Exception, match=r"(?i)read-?only"), store.snapshot() as tx:
        q.define_command(tx)


def test_flags_are_read_for_existing_jobs(store: Store) -> None:
    with store.transaction() as tx:
        q.queue_jobs(tx, 2, subject="news")
        jobs.request_stop(tx, [2], "anna")
        found = jobs.read_flags(tx, [1, 2, 3])
        assert found[1] == (1, 1, 1, None, "queued", 0, None, "news", 0, None)
        assert (found[2].stop_requested, 3 in found) == ("anna", False)


def test_only_a_queued_job_can_be_held(store: Store) -> None:
    with store.transaction() as tx:
        q.enrol_machines(tx)
        q.queue_jobs(tx, 2)
        q.lease(tx, 1)
        jobs.hold(tx, [1, 2], "by anna")
        assert [q.read_column(tx, each, "hold") for each in (1, 2)] == [0, 1]


def test_only_a_queued_job_gets_another_priority(store: Store) -> None:
    with store.transaction() as tx:
        q.enrol_machines(tx)
        q.queue_jobs(tx, 2)
        q.lease(tx, 1)
        jobs.set_priority(tx, [1, 2], 7)
        assert [q.read_column(tx, each, "priority") for each in (1, 2)] == [0, 7]


def test_only_a_queued_job_gets_other_settings(store: Store) -> None:
    with store.transaction() as tx:
        q.enrol_machines(tx)
        q.queue_jobs(tx, 3)
        q.lease(tx, 2)
        class_id = jobs.read_submissions(tx, [1])[1]["class_id"]
        full = (class_id, '{"a": "b"}', "x", 7, 5000, 9000, "note", "code", "why")
        none = (class_id, "{}", None, 0, None, None, "", "", "")
        changed = {1: full, 2: full, 3: none}
        jobs.change(tx, [jobs.JobSettings(job_id, *row) for job_id, row in changed.items()])
        rows = jobs.read_submissions(tx, [1, 2, 3])
        assert q.read_column(tx, 1, "deadline_order") < 0
    names = jobs.JobSettings._fields[1:]
    assert [tuple(rows[n][name] for name in names) for n in (1, 3)] == [full, none]
    assert (rows[2]["priority"], rows[2]["subject"], rows[2]["comment"]) == (0, None, "")


def test_progress_of_an_old_attempt_is_ignored(store: Store) -> None:
    with store.transaction() as tx:
        q.enrol_machines(tx)
        job_id = q.queue_job(tx, comment="at first")
        q.lease(tx, job_id)
        jobs.record_progress(tx, [(job_id, 1, 500, None)])
        assert (q.read_column(tx, job_id, "progress"), q.read_column(tx, job_id, "comment")) == (
            500, "at first",
        )  # fmt: skip
        jobs.record_progress(tx, [(job_id, 1, None, "half"), (job_id, 2, 900, "other")])
        assert (q.read_column(tx, job_id, "progress"), q.read_column(tx, job_id, "comment")) == (
            500,
            "half",
        )


def test_a_nul_in_a_comment_is_replaced(store: Store) -> None:
    with store.transaction() as tx:
        q.enrol_machines(tx)
        job_id = q.queue_job(tx)
        q.lease(tx, job_id)
        jobs.record_progress(tx, [(job_id, 1, None, "a\0b")])
        assert q.read_column(tx, job_id, "comment") == "a\N{REPLACEMENT CHARACTER}b"


def test_the_submission_of_a_job_can_be_copied(store: Store) -> None:
    with store.transaction() as tx:
        job_id = q.queue_job(tx, arguments='{"a": "1"}', priority=7, subject="news")
        row = jobs.read_submission(tx, job_id)
        assert row is not None
        assert (row["arguments"], row["priority"], row["subject"]) == ('{"a": "1"}', 7, "news")
        assert jobs.read_submission(tx, 99) is None


def test_events_are_listed_in_the_order_of_insertion(store: Store) -> None:
    with store.transaction() as tx:
        job_id = q.queue_job(tx)
        events.add(tx, [events.Event(job_id, 0, q.NOON, "held", "by anna")])
        events.add(tx, [events.Event(job_id, 0, q.NOON - 5, "released", "")])
        found = read_job(tx, job_id)["events"]
    assert [each["kind"] for each in found] == ["held", "released"]
    assert found[0] == {"at_ms": q.NOON, "n": 0, "kind": "held", "detail": "by anna"}


def test_texts_are_stored_unchanged(store: Store) -> None:
    text = "Größe 🎬 50 % 'quoted' \"twice\" back\\slash {brace} %s ?"
    with store.transaction() as tx:
        job_id = q.queue_job(tx, subject=text, comment=text, key=text, arguments=f'"{text}"')
    with store.snapshot() as tx:
        assert [q.read_column(tx, job_id, name) for name in ("subject", "comment", "key")] == [
            text
        ] * 3
        assert jobs.find_by_key(tx, text) == (job_id, JobState.QUEUED)


def test_counters_follow_every_transition(store: Store) -> None:
    with store.transaction() as tx:
        q.enrol_machines(tx)
        q.queue_jobs(tx, 4)
        q.queue_jobs(tx, 1, command="other")
    with store.transaction() as tx:
        q.lease(tx, 1)
        q.run(tx, 2)
    with store.snapshot() as tx:
        found = read_queue_counts(tx)
    assert found["counts"] == {
        "queued": 3, "leased": 1, "running": 0, "succeeded": 1, "failed": 0, "cancelled": 0,
    }  # fmt: skip
    assert [(each["name"], each["queued"], each["running"]) for each in found["commands"]] == [
        ("other", 1, 0),
        ("true", 2, 1),
    ]


def test_the_longest_subject_and_requirements_fit_into_the_indexes(store: Store) -> None:
    # Random, because PostgreSQL compresses long texts before it refuses them.
    random = Random(1)

    def text(size: int) -> str:
        return "".join(random.choices(string.printable, k=size))

    with store.transaction() as tx:
        defined = q.define_command(tx)
        class_id = commands.ensure_class(
            tx, defined, "anna" * 25, labels=text(MAX_REQUIREMENT_BYTES)
        )
        row = jobs.NewJob(
            1, class_id, defined.command_id, "{}", q.NOON, subject=text(MAX_SUBJECT_BYTES),
            key="\N{SNOWMAN}" * 200,
        )  # fmt: skip
        jobs.add(tx, [row])
        jobs.save_next_id(tx, 2)
        assert readiness.refresh(tx, [1]) == {class_id}
        q.enrol_machines(tx)
        q.run(tx, 1)


def test_a_listed_job_has_machine_start_and_run_time_of_its_last_attempt(store: Store) -> None:
    with store.transaction() as tx:
        q.enrol_machines(tx)
        waiting, running, measured, ended = q.queue_jobs(tx, 4)
        q.start(tx, *q.lease(tx, running), at_ms=q.NOON + 500)
        usage = json.dumps({"wall_s": 2.0})
        q.run(tx, measured, JobEvent.FAILED, started_ms=q.NOON, usage=usage, at_ms=q.NOON + 2500)
        q.run(tx, ended, JobEvent.FAILED, started_ms=q.NOON, at_ms=q.NOON + 2500)
    with store.snapshot() as tx:
        found = {
            each["id"]: (each["ran_on"], each["started_ms"], each["run_s"])
            for each in list_jobs(tx)["jobs"]
        }
        assert found == {
            waiting: ("", None, None),
            running: ("attic", q.NOON + 500, None),
            measured: ("attic", q.NOON, 2.0),
            ended: ("attic", q.NOON, 2.5),
        }
        assert read_job(tx, ended)["run_s"] == 2.5
