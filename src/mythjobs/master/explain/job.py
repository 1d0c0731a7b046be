"""Why a job waits: the sentence of a submit, and the whole answer of `why`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from mythjobs.clock import Now
from mythjobs.errors import NoSuchJob
from mythjobs.master.attempts import lease_expiry
from mythjobs.master.catalog import JobClass, read_class
from mythjobs.master.placement.fit_cache import FitCache
from mythjobs.master.placement.scheduler import current_requirements, list_running
from mythjobs.master.state import Machine, MasterState
from mythjobs.master.turn_context import TurnContext
from mythjobs.model.life import FINAL, JobState
from mythjobs.protocol.requests import Submitted
from mythjobs.scheduler import eligibility as e
from mythjobs.scheduler.blocked import CandidateMachine, add_unknown_machines, explain_wait
from mythjobs.scheduler.capacity import UsageCounts
from mythjobs.scheduler.forecast import ExpectedTimes, forecast_times
from mythjobs.store.queries import job_facts, ready_jobs
from mythjobs.store.queries.job_details import read_job
from mythjobs.store.queries.jobs import list_jobs
from mythjobs.store.transaction import Transaction


class PlacementView:
    """What placement would see of a class now; made for one answer."""

    def __init__(
        self, memory: MasterState, sites: FitCache, classes: Mapping[int, JobClass]
    ) -> None:
        self._memory = memory
        self._sites = sites
        sites.refresh(memory)
        self._counts = UsageCounts(
            list_running(memory, lambda each: classes[each].requirements.semaphores)
        )

    def requirements(self, job_class: JobClass) -> e.Requirements:
        return current_requirements(
            self._memory.placement.disabled, self._memory.deferrals, job_class
        )

    def candidates(self, job_class: JobClass, now_ms: int) -> list[CandidateMachine]:
        return [self.candidate(each, job_class, now_ms) for each in self._memory.machines.values()]

    def candidate(self, machine: Machine, job_class: JobClass, now_ms: int) -> CandidateMachine:
        site = self._sites.fit(self._memory, machine, job_class).settings
        moment = e.Conditions(
            now_ms,
            self._counts,
            self._memory.placement.semaphore_sizes,
            None if site.hours_error else self._sites.window_state(site.hours, now_ms),
            self._memory.typical_s(job_class.command_id, machine.machine_id),
            declined_ms=self._memory.placement.decline_left_ms(
                machine.machine_id, job_class.class_id, now_ms
            ),
        )
        return machine.facts(), site, moment


def explain_submitted(turn: TurnContext, job_id: int, new: bool) -> Submitted:
    """The answer to a submit, once this turn has placed what it could."""
    if job_id in turn.placed:
        return Submitted(job_id, JobState.LEASED, new, _starts(turn, job_id))
    job = job_facts.read_job_facts(turn.tx, job_id)
    assert job is not None
    if job.state != JobState.QUEUED:
        return Submitted(job_id, job.state, new, job.reason)
    waits = e.find_job_wait(job, turn.now.wall_ms)
    class_id = job_facts.read_class_id(turn.tx, job_id)
    if waits is None:
        waits = _where_now(turn, class_id)
    ask = turn.catalog.job_class(turn.tx, class_id).requirements
    _, sentence = add_unknown_machines(waits, ask, machine_names(turn.state))
    return Submitted(job_id, job.state, new, sentence)


def _starts(turn: TurnContext, job_id: int) -> str:
    """Of a job that was placed: it may have been meant for a machine that nobody knows."""
    sentence = f"starts on {turn.placed[job_id]}"
    for each in turn.state.machines.values():
        live = each.live_attempts.get(job_id)
        if live is not None:
            ask = turn.catalog.job_class(turn.tx, live.class_id).requirements
            return add_unknown_machines(("", sentence), ask, machine_names(turn.state))[1]
    return sentence


def machine_names(memory: MasterState) -> set[str]:
    return {each.name for each in memory.machines.values()}


def _where_now(turn: TurnContext, class_id: int) -> tuple[str, str]:
    """Asked once a class and turn: all its jobs wait for the same."""
    found = turn.wait_reasons.get(class_id)
    if found is None:
        book, tx = turn.catalog, turn.tx
        classes = {each: book.job_class(tx, each) for each in _live_classes(turn.state)}
        view = PlacementView(turn.state, turn.fits, classes)
        job_class = book.job_class(tx, class_id)
        now_ms = turn.now.wall_ms
        places = view.candidates(job_class, now_ms)
        found = turn.wait_reasons[class_id] = explain_wait(
            view.requirements(job_class), places, now_ms
        )
    return found


def _live_classes(memory: MasterState) -> set[int]:
    return {
        live.class_id for each in memory.machines.values() for live in each.live_attempts.values()
    }


def read_placement_view(tx: Transaction, memory: MasterState) -> PlacementView:
    """For whoever reads beside the turns."""
    classes = {each: read_class(tx, each) for each in _live_classes(memory)}
    return PlacementView(memory, FitCache(), classes)


def explain_job(tx: Transaction, memory: MasterState, job_id: int, now: Now) -> dict[str, Any]:
    """One sentence, then machine by rule. Raises NoSuchJob."""
    job = job_facts.read_job_facts(tx, job_id)
    if job is None:
        raise NoSuchJob(f"there is no job {job_id}")
    machines: list[dict[str, Any]] = []
    if job.state == JobState.QUEUED:
        job_class = read_class(tx, job_facts.read_class_id(tx, job_id))
        view = read_placement_view(tx, memory)
        ask, places = view.requirements(job_class), view.candidates(job_class, now.wall_ms)
        waits = e.find_job_wait(job, now.wall_ms) or explain_wait(ask, places, now.wall_ms)
        code, sentence = add_unknown_machines(waits, ask, machine_names(memory))
        machines = [
            {
                "machine": each[0].name,
                "rules": [rule._asdict() for rule in e.check_rules(ask, *each)],
            }
            for each in places
        ]
        expected = _expected(tx, memory, job, job_id, ask, places, now)
    else:
        code, sentence = job.reason_code, job.reason or f"it {job.state}"
        if job.state not in FINAL:
            # What is stored is why an earlier attempt was not the last.
            code, sentence = describe_live_job(memory, job.state, job_id, now)
        expected = _running(memory, job_id)
    if job.state not in FINAL:
        sentence = add_lateness(sentence, job.deadline_ms, now)
    return {
        "id": job_id,
        "state": job.state,
        "code": code,
        "sentence": sentence,
        "machines": machines,
        "expected_start_ms": expected.start_ms if expected and machines else None,
        "expected_end_ms": expected.end_ms if expected else None,
    }


def describe_live_job(memory: MasterState, state: str, job_id: int, now: Now) -> tuple[str, str]:
    """The code and sentence of how it is with a job that a machine has."""
    for each in memory.machines.values():
        live = each.live_attempts.get(job_id)
        if live is None:
            continue
        if silent := lease_expiry.describe_silence(each, live, now):
            return "silent", f"{state} on {each.name}, {silent}"
        if live.frozen_by:
            return "frozen", f"frozen on {each.name} by {', '.join(live.frozen_by)}"
        return state, f"{state} on {each.name}"
    return state, f"{state} on a machine"


def add_lateness(sentence: str, deadline_ms: int | None, now: Now) -> str:
    """What is to be said of a job that is not over, and that its deadline has passed: then it
    had started in time, or it would be cancelled."""
    late = deadline_ms is not None and deadline_ms <= now.wall_ms
    return f"{sentence}; late, its deadline has passed" if late else sentence


def _running(memory: MasterState, job_id: int) -> ExpectedTimes | None:
    """When a running job ends, if it takes as long as usual."""
    for machine in memory.machines.values():
        live = machine.live_attempts.get(job_id)
        if live is not None and live.started_ms is not None and not live.frozen_by:
            typical_s = memory.typical_s(live.command_id, machine.machine_id)
            if typical_s is not None:
                return ExpectedTimes(live.started_ms, live.started_ms + round(1000 * typical_s))
    return None


def _expected(
    tx: Transaction,
    memory: MasterState,
    job: e.JobFacts,
    job_id: int,
    ask: e.Requirements,
    places: list[CandidateMachine],
    now: Now,
) -> ExpectedTimes | None:
    """Where it starts first: its share of the places that may run it, after all before it."""
    if job.hold or job.unmet or (not job.ready and job.subject is not None):
        return None
    can = [each for each in places if each[0].connected and e.is_permitted(ask, *each)]
    if not can or not ask.enabled:
        return None
    begin_ms = max(now.wall_ms, ask.put_off_ms or 0, job.not_before_ms or 0)
    ahead = ready_jobs.count_ahead(tx, ask.class_id, job_id)
    # Classes take turns, so with k of them waiting, k - 1 jobs of others come between two of one.
    rivals = max(len(memory.placement.ready_classes | memory.classes_to_recheck), 1)
    best: ExpectedTimes | None = None
    for machine, site, moment in can:
        live = memory.machines[machine.machine_id]
        typical_s = moment.typical_s
        if ahead and typical_s is None:
            continue
        ahead_s = ahead * rivals * (typical_s or 0.0) / len(can)
        free = _free_at(memory, live, begin_ms)
        found = forecast_times(begin_ms, site.hours, free, ahead_s, typical_s) if free else None
        if found is not None and (best is None or found < best):
            best = found
    return best


def _free_at(memory: MasterState, machine: Machine, now_ms: int) -> list[int]:
    """When each of its places becomes free; those of which nobody knows are left out."""
    free = [now_ms] * max(machine.max_jobs - len(machine.live_attempts), 0)
    ends = []
    for live in machine.live_attempts.values():
        typical_s = memory.typical_s(live.command_id, machine.machine_id)
        if typical_s is not None:
            began_ms = now_ms if live.started_ms is None else live.started_ms
            ends.append(max(now_ms, began_ms + round(1000 * typical_s)))
    return (free + sorted(ends))[: machine.max_jobs]


Record = dict[str, Any]


def list_jobs_with_reasons(
    tx: Transaction, /, memory: MasterState, now: Now, **query: Any
) -> Record:
    """Newest first, as `reads.jobs` lists them. Raises NoSuchCommand."""
    found = list_jobs(tx, **query)
    _tell(tx, memory, now, found["jobs"])
    return found


def read_job_with_reason(tx: Transaction, /, memory: MasterState, now: Now, job_id: int) -> Record:
    """Raises NoSuchJob."""
    found = read_job(tx, job_id)
    _tell(tx, memory, now, [found])
    return found


def _tell(tx: Transaction, memory: MasterState, now: Now, pages: list[Record]) -> None:
    """What is stored of a job that is not over is how an earlier attempt of it ended."""
    queued = [each["id"] for each in pages if each["state"] == JobState.QUEUED]
    waits = _Waits(tx, memory, now, queued) if queued else None
    for page in pages:
        if page["state"] == JobState.QUEUED and waits is not None:
            code, sentence = waits.of(page["id"])
        elif page["state"] not in FINAL:
            code, sentence = describe_live_job(memory, page["state"], page["id"], now)
        else:
            code = ""
        if code:
            page["reason"] = _reason(code, add_lateness(sentence, page["deadline_ms"], now))
        page["frozen"] = _frozen(memory, page["id"])


def _reason(code: str, sentence: str) -> Record:
    return {"code": code, "sentence": sentence}


def _frozen(memory: MasterState, job_id: int) -> list[str]:
    for each in memory.machines.values():
        if job_id in each.live_attempts:
            return list(each.live_attempts[job_id].frozen_by)
    return []


class _Waits:
    """Why these queued jobs wait; asked of placement once for each class."""

    def __init__(self, tx: Transaction, memory: MasterState, now: Now, ids: list[int]) -> None:
        self._tx = tx
        self._memory = memory
        self._now_ms = now.wall_ms
        self._facts = job_facts.read_queued(tx, ids)
        self._classes = job_facts.read_class_ids(tx, ids)
        self._names = machine_names(memory)
        self._asks: dict[int, tuple[JobClass, e.Requirements]] = {}
        self._known: dict[int, tuple[str, str]] = {}

    def of(self, job_id: int) -> tuple[str, str]:
        class_id = self._classes[job_id]
        own = e.find_job_wait(self._facts[job_id], self._now_ms)
        waits = self._where(class_id) if own is None else own
        return add_unknown_machines(waits, self._ask(class_id)[1], self._names)

    def _ask(self, class_id: int) -> tuple[JobClass, e.Requirements]:
        found = self._asks.get(class_id)
        if found is None:
            job_class = read_class(self._tx, class_id)
            found = self._asks[class_id] = (job_class, self._view.requirements(job_class))
        return found

    def _where(self, class_id: int) -> tuple[str, str]:
        found = self._known.get(class_id)
        if found is None:
            job_class, ask = self._ask(class_id)
            places = self._view.candidates(job_class, self._now_ms)
            found = self._known[class_id] = explain_wait(ask, places, self._now_ms)
        return found

    @cached_property
    def _view(self) -> PlacementView:
        return read_placement_view(self._tx, self._memory)
