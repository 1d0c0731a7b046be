"""Jobs as pages show them: with the reason that the rules of placement give at this moment."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from mythjobs.clock import Now
from mythjobs.master.catalog import JobClass, read_class
from mythjobs.master.explain.job import View, names, or_late, stands, view_of
from mythjobs.master.state import Memory
from mythjobs.model.life import FINAL, JobState
from mythjobs.scheduler import eligibility as e
from mythjobs.scheduler.blocked import or_strangers, waits_where
from mythjobs.store.queries import details, job_facts
from mythjobs.store.statement import Transaction

Record = dict[str, Any]


def jobs(tx: Transaction, /, memory: Memory, now: Now, **query: Any) -> Record:
    """Newest first, as `reads.jobs` lists them. Raises NoSuchCommand."""
    found = details.jobs(tx, **query)
    _tell(tx, memory, now, found["jobs"])
    return found


def job(tx: Transaction, /, memory: Memory, now: Now, job_id: int) -> Record:
    """Raises NoSuchJob."""
    found = details.job(tx, job_id)
    _tell(tx, memory, now, [found])
    return found


def _tell(tx: Transaction, memory: Memory, now: Now, pages: list[Record]) -> None:
    """What is stored of a job that is not over is how an earlier attempt of it ended."""
    queued = [each["id"] for each in pages if each["state"] == JobState.QUEUED]
    waits = _Waits(tx, memory, now, queued) if queued else None
    for page in pages:
        if page["state"] == JobState.QUEUED and waits is not None:
            code, sentence = waits.of(page["id"])
        elif page["state"] not in FINAL:
            code, sentence = stands(memory, page["state"], page["id"], now)
        else:
            code = ""
        if code:
            page["reason"] = _reason(code, or_late(sentence, page["deadline_ms"], now))
        page["frozen"] = _frozen(memory, page["id"])


def _reason(code: str, sentence: str) -> Record:
    return {"code": code, "sentence": sentence}


def _frozen(memory: Memory, job_id: int) -> list[str]:
    for each in memory.machines.values():
        if job_id in each.live:
            return list(each.live[job_id].frozen)
    return []


class _Waits:
    """Why these queued jobs wait; asked of placement once for each class."""

    def __init__(self, tx: Transaction, memory: Memory, now: Now, ids: list[int]) -> None:
        self._tx = tx
        self._memory = memory
        self._now_ms = now.wall_ms
        self._facts = job_facts.of_queued(tx, ids)
        self._classes = job_facts.classes_of(tx, ids)
        self._names = names(memory)
        self._asks: dict[int, tuple[JobClass, e.Ask]] = {}
        self._known: dict[int, tuple[str, str]] = {}

    def of(self, job_id: int) -> tuple[str, str]:
        class_id = self._classes[job_id]
        own = e.waits_for(self._facts[job_id], self._now_ms)
        waits = self._where(class_id) if own is None else own
        return or_strangers(waits, self._ask(class_id)[1], self._names)

    def _ask(self, class_id: int) -> tuple[JobClass, e.Ask]:
        found = self._asks.get(class_id)
        if found is None:
            job_class = read_class(self._tx, class_id)
            found = self._asks[class_id] = (job_class, self._view.ask(job_class))
        return found

    def _where(self, class_id: int) -> tuple[str, str]:
        found = self._known.get(class_id)
        if found is None:
            job_class, ask = self._ask(class_id)
            places = self._view.places(job_class, self._now_ms)
            found = self._known[class_id] = waits_where(ask, places, self._now_ms)
        return found

    @cached_property
    def _view(self) -> View:
        return view_of(self._tx, self._memory)
