"""Why a job waits: the sentence of a submit, and the whole answer of `why`."""

from __future__ import annotations

from typing import Any

from mythjobs.clock import Now
from mythjobs.errors import NoSuchJob
from mythjobs.master.memory import Machine, Memory
from mythjobs.master.turn import Turn
from mythjobs.model.life import FINAL, JobState
from mythjobs.protocol.messages import SILENT_S
from mythjobs.protocol.requests import Submitted
from mythjobs.scheduler import eligibility as e
from mythjobs.store import facts
from mythjobs.store.statement import Transaction


def explain_new(turn: Turn, job_id: int, new: bool) -> Submitted:
    """The answer to a submit, once this turn has placed what it could."""
    if job_id in turn.placed:
        return Submitted(job_id, JobState.LEASED, new, f"starts on {turn.placed[job_id]}")
    job = facts.job_facts(turn.tx, job_id)
    assert job is not None
    _, sentence = reason(turn.memory, job)
    return Submitted(job_id, job.state, new, sentence)


def reason(memory: Memory, job: e.JobFacts) -> tuple[str, str]:
    """The code and sentence of where a job stands."""
    if job.state != JobState.QUEUED:
        return job.reason_code, job.reason
    waits = e.waits_for(job)
    if waits is not None:
        return waits
    return e.waits_where(job.command, [each.facts() for each in memory.machines.values()])


def why(tx: Transaction, memory: Memory, job_id: int) -> dict[str, Any]:
    """One sentence, then machine by rule. Raises NoSuchJob."""
    job = facts.job_facts(tx, job_id)
    if job is None:
        raise NoSuchJob(f"there is no job {job_id}")
    code, sentence = reason(memory, job)
    if job.state in FINAL and not sentence:
        sentence = f"it {job.state}"
    elif not sentence:
        places = [each.name for each in memory.machines.values() if job_id in each.live]
        sentence = f"{job.state} on {', '.join(places) or 'a machine'}"
    return {
        "id": job_id,
        "state": job.state,
        "code": code,
        "sentence": sentence,
        "machines": [
            {
                "machine": each.name,
                "rules": [rule._asdict() for rule in e.rules(job.command, each.facts())],
            }
            for each in memory.machines.values()
            if job.state == JobState.QUEUED
        ],
        "expected_start_ms": None,
        "expected_end_ms": _expected_end(memory, job, job_id),
    }


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
    }


def _presence(machine: Machine, now: Now) -> str:
    if machine.connection is None:
        return "away"
    silent = now.steady_ms - machine.heard_ms > 1000 * SILENT_S
    return "silent" if silent else "up"


def _expected_end(memory: Memory, job: e.JobFacts, job_id: int) -> int | None:
    """When a running job ends, if it takes as long as usual."""
    for machine in memory.machines.values():
        live = machine.live.get(job_id)
        if live is not None and live.started_ms is not None:
            typical_s = memory.typical_s(live.command_id, machine.machine_id)
            return None if typical_s is None else live.started_ms + round(1000 * typical_s)
    return None
