"""Running jobs that stand still because their user says so."""

from __future__ import annotations

from mythjobs.errors import BadRequest
from mythjobs.master import requests
from mythjobs.master.state import Machine
from mythjobs.master.turn_context import Turn
from mythjobs.protocol.messages import Freeze
from mythjobs.protocol.requests import Acted
from mythjobs.store.writes import jobs

USER = "user"
_MOST_IDS = 10_000


def freeze(turn: Turn, request: requests.FreezeJobs) -> list[Acted]:
    """Asks the machines. It is frozen once its machine says so, and only there is it written
    down: a machine that cannot be asked now is not asked later."""
    if len(request.ids) > _MOST_IDS:
        raise BadRequest(f"at most {_MOST_IDS} jobs at once")
    found = jobs.flags(turn.tx, request.ids)
    answers = []
    for job_id in request.ids:
        flags = found.get(job_id)
        if flags is None:
            answers.append(Acted(job_id, "", "", f"there is no job {job_id}"))
            continue
        error = _ask(turn, job_id, flags.state, request.on)
        done = "" if error else ("pausing" if request.on else "resuming")
        answers.append(Acted(job_id, flags.state, done, error))
    return answers


def _ask(turn: Turn, job_id: int, state: str, on: bool) -> str:
    """Why it cannot be done, or nothing."""
    machine = _having(turn, job_id)
    if machine is None:
        other = "`mythjobs hold` keeps it from starting" if state == "queued" else "it is over"
        return f"job {job_id} is {state}, not running; {other}"
    if machine.connection is None or not machine.hb:
        return f"machine {machine.name} is not connected, so job {job_id} cannot be told; try later"
    if on and "freeze" not in machine.can:
        return f"machine {machine.name} cannot freeze a job; cancel it, or let it run"
    turn.say(machine.connection, Freeze(job_id, machine.live[job_id].n, USER, on))
    return ""


def _having(turn: Turn, job_id: int) -> Machine | None:
    for each in turn.memory.machines.values():
        if job_id in each.live:
            return each
    return None
