"""Pages of jobs as the API shows them, each with the current reason why it waits."""

from __future__ import annotations

from functools import cached_property
from typing import Any, cast

from mythjobs.clock import Now
from mythjobs.master.catalog import JobClass, read_class
from mythjobs.master.explain import live_jobs
from mythjobs.master.explain.job import add_lateness
from mythjobs.master.explain.placement_view import (
    PlacementView,
    machine_names,
    read_placement_view,
)
from mythjobs.master.state import MasterState
from mythjobs.model.life import FINAL, JobState
from mythjobs.protocol import responses
from mythjobs.scheduler.blocked import add_unknown_machines, find_job_wait, name_awaited
from mythjobs.store.queries import job_facts
from mythjobs.store.queries.job_details import read_job
from mythjobs.store.queries.jobs import list_jobs
from mythjobs.store.transaction import Transaction

Record = dict[str, Any]


def list_jobs_with_reasons(
    tx: Transaction, /, state: MasterState, now: Now, **query: Any
) -> responses.Jobs:
    """Return a page of jobs, newest first, each with the current reason why it waits.

    Raises NoSuchCommand.
    """
    found = list_jobs(tx, **query)
    _add_reasons(tx, state, now, found["jobs"])
    return cast(responses.Jobs, found)


def read_job_with_reason(
    tx: Transaction, /, state: MasterState, now: Now, job_id: int
) -> responses.Job:
    """Return a job with the current reason why it waits. Raises NoSuchJob."""
    found = read_job(tx, job_id)
    _add_reasons(tx, state, now, [found])
    return cast(responses.Job, found)


def _add_reasons(tx: Transaction, state: MasterState, now: Now, pages: list[Record]) -> None:
    """Set the current reason of each job that has not ended.

    The stored reason of such a job tells how an earlier attempt ended.
    """
    queued = [each["id"] for each in pages if each["state"] == JobState.QUEUED]
    waits = _WaitReasons(tx, state, now, queued) if queued else None
    usual_times = live_jobs.UsualTimes(tx, state)
    for page in pages:
        if page["state"] == JobState.QUEUED and waits is not None:
            code, sentence = waits.find(page["id"])
        elif page["state"] not in FINAL:
            code, sentence = live_jobs.describe_live_job(state, page["state"], page["id"], now)
        else:
            code = ""
        if code:
            sentence = add_lateness(sentence, page["deadline_ms"], now)
            page["reason"] = {"code": code, "sentence": sentence}
        found = live_jobs.find_live_job(state, page["id"])
        page["frozen"] = list(found.attempt.frozen_by) if found else []
        page["eta_ms"] = (
            live_jobs.find_reported_end_ms(found.attempt, now.wall_ms) if found else None
        )
        estimate = live_jobs.Estimate()
        if found:
            usual_s = usual_times.find_s(page, found)
            estimate = live_jobs.estimate_progress(found.attempt, usual_s, now)
        page["estimated_progress"], page["estimated_end_ms"] = estimate


class _WaitReasons:
    """Finds why queued jobs wait; evaluates the placement rules once per job class."""

    def __init__(self, tx: Transaction, state: MasterState, now: Now, ids: list[int]) -> None:
        self._tx = tx
        self._state = state
        self._now_ms = now.wall_ms
        self._facts = job_facts.read_queued(tx, ids)
        self._awaited = job_facts.read_awaited(tx, self._facts)
        self._class_ids = job_facts.read_class_ids(tx, ids)
        self._names = machine_names(state)
        self._classes: dict[int, JobClass] = {}
        self._reasons: dict[int, tuple[str, str]] = {}  # (code, sentence) by class id

    def find(self, job_id: int) -> tuple[str, str]:
        class_id = self._class_ids[job_id]
        job_class = self._classes.get(class_id)
        if job_class is None:
            job_class = self._classes[class_id] = read_class(self._tx, class_id)
        reason = find_job_wait(self._facts[job_id], self._now_ms) or self._reasons.get(class_id)
        if reason is None:
            reason = self._view.explain_wait(job_class, self._now_ms)
            self._reasons[class_id] = reason
        reason = name_awaited(reason, self._awaited.get(job_id))
        return add_unknown_machines(reason, job_class.requirements, self._names)

    @cached_property
    def _view(self) -> PlacementView:
        return read_placement_view(self._tx, self._state)
