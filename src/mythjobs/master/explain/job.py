"""Why a job waits: the sentence of a submit, and the whole answer of `why`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mythjobs.clock import Now
from mythjobs.errors import NoSuchJob
from mythjobs.master.attempts import lease_expiry
from mythjobs.master.catalog import JobClass, read_class
from mythjobs.master.placement.running import running
from mythjobs.master.placement.scheduler import asked
from mythjobs.master.placement.sites import Sites
from mythjobs.master.state import Machine, Memory
from mythjobs.master.turn_context import Turn
from mythjobs.model.life import FINAL, JobState
from mythjobs.model.units import clock_differs
from mythjobs.protocol.messages import SILENT_S
from mythjobs.protocol.requests import Submitted
from mythjobs.scheduler import eligibility as e
from mythjobs.scheduler.blocked import Place, or_strangers, waits_where
from mythjobs.scheduler.counts import Counts
from mythjobs.scheduler.forecast import Expected, forecast
from mythjobs.store.queries import job_facts, ready_jobs
from mythjobs.store.statement import Transaction


class View:
    """What placement would see of a class now; made for one answer."""

    def __init__(self, memory: Memory, sites: Sites, classes: Mapping[int, JobClass]) -> None:
        self._memory = memory
        self._sites = sites
        sites.begin(memory)
        self._counts = Counts(running(memory, lambda each: classes[each].ask.semaphores))

    def ask(self, job_class: JobClass) -> e.Ask:
        return asked(self._memory.plan.disabled, self._memory.put_off, job_class)

    def places(self, job_class: JobClass, now_ms: int) -> list[Place]:
        return [self.place(each, job_class, now_ms) for each in self._memory.machines.values()]

    def place(self, machine: Machine, job_class: JobClass, now_ms: int) -> Place:
        site = self._sites.spot(self._memory, machine, job_class).site
        moment = e.Moment(
            now_ms,
            self._counts,
            self._memory.plan.sizes,
            None if site.fault else self._sites.opening(site.hours, now_ms),
            self._memory.typical_s(job_class.command_id, machine.machine_id),
            declined_ms=self._memory.plan.declined_ms(
                machine.machine_id, job_class.class_id, now_ms
            ),
        )
        return machine.facts(), site, moment


def explain_new(turn: Turn, job_id: int, new: bool) -> Submitted:
    """The answer to a submit, once this turn has placed what it could."""
    if job_id in turn.placed:
        return Submitted(job_id, JobState.LEASED, new, _starts(turn, job_id))
    job = job_facts.job_facts(turn.tx, job_id)
    assert job is not None
    if job.state != JobState.QUEUED:
        return Submitted(job_id, job.state, new, job.reason)
    waits = e.waits_for(job, turn.now.wall_ms)
    class_id = job_facts.class_of(turn.tx, job_id)
    if waits is None:
        waits = _where_now(turn, class_id)
    ask = turn.book.job_class(turn.tx, class_id).ask
    _, sentence = or_strangers(waits, ask, names(turn.memory))
    return Submitted(job_id, job.state, new, sentence)


def _starts(turn: Turn, job_id: int) -> str:
    """Of a job that was placed: it may have been meant for a machine that nobody knows."""
    sentence = f"starts on {turn.placed[job_id]}"
    for each in turn.memory.machines.values():
        live = each.live.get(job_id)
        if live is not None:
            ask = turn.book.job_class(turn.tx, live.class_id).ask
            return or_strangers(("", sentence), ask, names(turn.memory))[1]
    return sentence


def names(memory: Memory) -> set[str]:
    return {each.name for each in memory.machines.values()}


def _where_now(turn: Turn, class_id: int) -> tuple[str, str]:
    """Asked once a class and turn: all its jobs wait for the same."""
    found = turn.reasons.get(class_id)
    if found is None:
        book, tx = turn.book, turn.tx
        classes = {each: book.job_class(tx, each) for each in _live_classes(turn.memory)}
        view = View(turn.memory, book.sites, classes)
        job_class = book.job_class(tx, class_id)
        now_ms = turn.now.wall_ms
        places = view.places(job_class, now_ms)
        found = turn.reasons[class_id] = waits_where(view.ask(job_class), places, now_ms)
    return found


def _live_classes(memory: Memory) -> set[int]:
    return {live.class_id for each in memory.machines.values() for live in each.live.values()}


def view_of(tx: Transaction, memory: Memory) -> View:
    """For whoever reads beside the turns."""
    classes = {each: read_class(tx, each) for each in _live_classes(memory)}
    return View(memory, Sites(), classes)


def why(tx: Transaction, memory: Memory, job_id: int, now: Now) -> dict[str, Any]:
    """One sentence, then machine by rule. Raises NoSuchJob."""
    job = job_facts.job_facts(tx, job_id)
    if job is None:
        raise NoSuchJob(f"there is no job {job_id}")
    machines: list[dict[str, Any]] = []
    if job.state == JobState.QUEUED:
        job_class = read_class(tx, job_facts.class_of(tx, job_id))
        view = view_of(tx, memory)
        ask, places = view.ask(job_class), view.places(job_class, now.wall_ms)
        waits = e.waits_for(job, now.wall_ms) or waits_where(ask, places, now.wall_ms)
        code, sentence = or_strangers(waits, ask, names(memory))
        machines = [
            {"machine": each[0].name, "rules": [rule._asdict() for rule in e.rules(ask, *each)]}
            for each in places
        ]
        expected = _expected(tx, memory, job, job_id, ask, places, now)
    else:
        code, sentence = job.reason_code, job.reason or f"it {job.state}"
        if job.state not in FINAL:
            # What is stored is why an earlier attempt was not the last.
            code, sentence = stands(memory, job.state, job_id, now)
        expected = _running(memory, job_id)
    if job.state not in FINAL:
        sentence = or_late(sentence, job.deadline_ms, now)
    return {
        "id": job_id,
        "state": job.state,
        "code": code,
        "sentence": sentence,
        "machines": machines,
        "expected_start_ms": expected.start_ms if expected and machines else None,
        "expected_end_ms": expected.end_ms if expected else None,
    }


def stands(memory: Memory, state: str, job_id: int, now: Now) -> tuple[str, str]:
    """The code and sentence of how it is with a job that a machine has."""
    for each in memory.machines.values():
        live = each.live.get(job_id)
        if live is None:
            continue
        if silent := lease_expiry.told(each, live, now):
            return "silent", f"{state} on {each.name}, {silent}"
        if live.frozen:
            return "frozen", f"frozen on {each.name} by {', '.join(live.frozen)}"
        return state, f"{state} on {each.name}"
    return state, f"{state} on a machine"


def or_late(sentence: str, deadline_ms: int | None, now: Now) -> str:
    """What is to be said of a job that is not over, and that its deadline has passed: then it
    had started in time, or it would be cancelled."""
    late = deadline_ms is not None and deadline_ms <= now.wall_ms
    return f"{sentence}; late, its deadline has passed" if late else sentence


def _running(memory: Memory, job_id: int) -> Expected | None:
    """When a running job ends, if it takes as long as usual."""
    for machine in memory.machines.values():
        live = machine.live.get(job_id)
        if live is not None and live.started_ms is not None and not live.frozen:
            typical_s = memory.typical_s(live.command_id, machine.machine_id)
            if typical_s is not None:
                return Expected(live.started_ms, live.started_ms + round(1000 * typical_s))
    return None


def _expected(
    tx: Transaction,
    memory: Memory,
    job: e.JobFacts,
    job_id: int,
    ask: e.Ask,
    places: list[Place],
    now: Now,
) -> Expected | None:
    """Where it starts first: its share of the places that may run it, after all before it."""
    if job.hold or job.unmet or (not job.ready and job.subject is not None):
        return None
    can = [each for each in places if each[0].connected and e.stands(ask, *each)]
    if not can or not ask.enabled:
        return None
    begin_ms = max(now.wall_ms, ask.put_off_ms or 0, job.not_before_ms or 0)
    ahead = ready_jobs.ahead(tx, ask.class_id, job_id)
    # Classes take turns, so with k of them waiting, k - 1 jobs of others come between two of one.
    rivals = max(len(memory.plan.ready | memory.waking), 1)
    best: Expected | None = None
    for machine, site, moment in can:
        live = memory.machines[machine.machine_id]
        typical_s = moment.typical_s
        if ahead and typical_s is None:
            continue
        ahead_s = ahead * rivals * (typical_s or 0.0) / len(can)
        free = _free_at(memory, live, begin_ms)
        found = forecast(begin_ms, site.hours, free, ahead_s, typical_s) if free else None
        if found is not None and (best is None or found < best):
            best = found
    return best


def _free_at(memory: Memory, machine: Machine, now_ms: int) -> list[int]:
    """When each of its places becomes free; those of which nobody knows are left out."""
    free = [now_ms] * max(machine.jobs - len(machine.live), 0)
    ends = []
    for live in machine.live.values():
        typical_s = memory.typical_s(live.command_id, machine.machine_id)
        if typical_s is not None:
            began_ms = now_ms if live.started_ms is None else live.started_ms
            ends.append(max(now_ms, began_ms + round(1000 * typical_s)))
    return (free + sorted(ends))[: machine.jobs]


def machine_page(machine: Machine, now: Now) -> dict[str, Any]:
    """A machine as it is now. `leased` counts what it has, `running` what of that has started."""
    rights = machine.rights
    return {
        "id": machine.machine_id,
        "name": machine.name,
        "state": _presence(machine, now),
        "jobs": machine.jobs,
        "running": sum(each.started_ms is not None for each in machine.live.values()),
        "leased": len(machine.live),
        "allow": "all" if rights.mode == "all" else {rights.mode: sorted(rights.commands)},
        "cores": machine.cores,
        "last_heard_ms": machine.heard_ms and now.wall_ms - (now.steady_ms - machine.heard_ms),
        "boot_id": machine.boot_id,
        "clock_ms": machine.clock_ms if clock_differs(machine.clock_ms) else 0,
    }


def _presence(machine: Machine, now: Now) -> str:
    if machine.connection is None:
        return "away"
    silent = now.steady_ms - machine.heard_ms > 1000 * SILENT_S
    return "silent" if silent else "up"
