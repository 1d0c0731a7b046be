"""What people do to jobs, commands and machines that are there: cancel, hold, define, allow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from mythjobs.errors import BadRequest, Conflict
from mythjobs.master import requests
from mythjobs.master.explain.job import machine_page
from mythjobs.master.handlers import machines
from mythjobs.master.turn_context import Turn
from mythjobs.model.command import RUN
from mythjobs.model.definition import command_from
from mythjobs.model.life import FINAL, JobState
from mythjobs.model.machine_policy import EVERYTHING, MOST_JOBS, Rights
from mythjobs.model.zone import zone_of
from mythjobs.protocol.messages import Stop
from mythjobs.protocol.requests import Acted, Defined
from mythjobs.store.writes import batches, commands, jobs, readiness

_MOST_IDS = 10_000


def _each(
    turn: Turn, ids: Sequence[int], act: Callable[[jobs.JobFlags], tuple[str, str]]
) -> list[Acted]:
    """Does the act to each job that is there; `act` answers what was done, and why not."""
    if len(ids) > _MOST_IDS:
        raise BadRequest(f"at most {_MOST_IDS} jobs at once")
    found = jobs.flags(turn.tx, ids)
    answers = []
    for job_id in ids:
        flags = found.get(job_id)
        if flags is None or (flags.hold == batches.CLOSED and not _visible(turn, flags)):
            answers.append(Acted(job_id, "", "", f"there is no job {job_id}"))
            continue
        done, error = act(flags)
        answers.append(Acted(job_id, flags.state, done, error))
    if answers:
        after = jobs.flags(turn.tx, ids)
        answers = [
            Acted(each.id, after[each.id].state if each.id in after else "", each.done, each.error)
            for each in answers
        ]
    return answers


def _visible(turn: Turn, flags: jobs.JobFlags) -> bool:
    return flags.batch_id is not None and batches.is_open(turn.tx, flags.batch_id)


def _over(flags: jobs.JobFlags) -> tuple[str, str] | None:
    if flags.state in FINAL:
        return "", f"job {flags.job_id} is over already ({flags.state})"
    return None


def cancel(turn: Turn, request: requests.CancelJobs) -> list[Acted]:
    """A queued job is cancelled at once; a live one is asked to stop, and ends when it has."""

    def act(flags: jobs.JobFlags) -> tuple[str, str]:
        if flags.state == JobState.QUEUED:
            turn.cancel_queued([flags.job_id], lambda _: f"cancelled by {request.by}")
            return "cancelled", ""
        if (over := _over(flags)) is not None:
            return over
        jobs.request_stop(turn.tx, [flags.job_id], request.by)
        _stop_live(turn, flags.job_id, request.by)
        return "stopping", ""

    return _each(turn, request.ids, act)


def _stop_live(turn: Turn, job_id: int, by: str) -> None:
    for machine in turn.memory.machines.values():
        live = machine.live.get(job_id)
        if live is None:
            continue
        machine.live[job_id] = live.with_stop(by)
        if machine.hb:
            assert machine.connection is not None
            turn.say(machine.connection, Stop(job_id, live.n, by))


def hold(turn: Turn, request: requests.HoldJobs) -> list[Acted]:
    def act(flags: jobs.JobFlags) -> tuple[str, str]:
        if flags.state != JobState.QUEUED:
            return _over(flags) or ("", f"job {flags.job_id} is {flags.state}; only a queued one")
        if flags.hold == batches.CLOSED:
            return "", f"job {flags.job_id} is being made ready; try again in a moment"
        jobs.hold(turn.tx, [flags.job_id], True, "held; `mythjobs release` lets it go on")
        turn.wake(readiness.refresh(turn.tx, [flags.job_id]))
        return "held", ""

    return _each(turn, request.ids, act)


def release(turn: Turn, request: requests.ReleaseJobs) -> list[Acted]:
    def act(flags: jobs.JobFlags) -> tuple[str, str]:
        if flags.hold != 1 or flags.state != JobState.QUEUED:
            return _over(flags) or ("", f"job {flags.job_id} is not held")
        jobs.hold(turn.tx, [flags.job_id], False, "")
        turn.wake(readiness.refresh(turn.tx, [flags.job_id]))
        turn.note(flags.job_id, 0, "released")
        return "released", ""

    return _each(turn, request.ids, act)


def rerun(turn: Turn, request: requests.RerunJobs) -> list[Acted]:
    """A new job with the same revision and arguments, of who asks; the old one is never changed."""

    def act(flags: jobs.JobFlags) -> tuple[str, str]:
        if flags.state not in FINAL:
            return "", f"job {flags.job_id} is not over yet ({flags.state})"
        old = jobs.whole(turn.tx, flags.job_id)
        assert old is not None
        class_id = commands.class_for(turn.tx, flags.class_id, request.submitter)
        if class_id is None:
            return "", f"the command of job {flags.job_id} was removed"
        job_id = turn.take_ids(1)
        ready = None if old["subject"] else class_id
        kept = {
            name: old[name]
            for name in ("command_id", "arguments", "subject", "overlap", "priority", "comment")
        }
        row = jobs.NewJob(
            job_id=job_id,
            submitted_ms=turn.now.wall_ms,
            ready_class=ready,
            rerun_of=flags.job_id,
            class_id=class_id,
            **kept,
        )
        jobs.add(turn.tx, [row])
        if ready is None:
            turn.subjects.add(old["subject"])
        turn.wake({class_id})
        return str(job_id), ""

    return _each(turn, request.ids, act)


def define(turn: Turn, request: requests.Define) -> Defined:
    """Raises DefinitionError, Conflict if the name is taken and this is no replacement."""
    command = command_from(request.definition)
    there = commands.by_name(turn.tx, command.name)
    if there is not None and not request.replace:
        raise Conflict(
            f'the name "{command.name}" is taken; change it with `mythjobs command edit`, '
            "or choose another"
        )
    if there is not None and turn.book.command(there) == command:
        return Defined(command.name, there.number, False)
    made = commands.define(turn.tx, command.name, dict(request.definition), at_ms=turn.now.wall_ms)
    turn.book.forget(command.name)
    return Defined(command.name, made.number, True)


def remove(turn: Turn, request: requests.RemoveCommand) -> str:
    """Raises NoSuchCommand, BadRequest, Conflict while jobs of it are not over."""
    defined = turn.book.named(turn.tx, request.name)
    if request.name == RUN:
        raise BadRequest('"run" is built in and cannot be removed')
    open_jobs = commands.open_jobs(turn.tx, defined.command_id)
    if open_jobs:
        raise Conflict(f"{open_jobs} jobs of {request.name} are not over; cancel them first")
    commands.remove(turn.tx, defined.command_id)
    turn.book.forget(request.name)
    return request.name


def set_machine(turn: Turn, request: requests.SetMachine) -> dict[str, Any]:
    """Raises NoSuchMachine, NoSuchCommand, BadRequest."""
    machine = turn.memory.machine(request.name)
    if request.jobs is not None and not 0 <= request.jobs <= MOST_JOBS:
        raise BadRequest(f"jobs {request.jobs} is not between 0 and {MOST_JOBS}")
    for name in [*(request.deny or []), *_listed(request.allow)]:
        turn.book.named(turn.tx, name)
    if request.zone is not None:
        try:
            zone_of(request.zone)
        except ValueError as error:
            raise BadRequest(f"zone: {error}") from None
    said = replace(
        machine.owner,
        rights=_changed(machine.rights, request),
        jobs=machine.ceiling if request.jobs is None else request.jobs,
        zone=machine.owner.zone if request.zone is None else request.zone,
    )
    if request.jobs is not None:
        machine.most_now = None
    machines.keep(turn, machine, said)
    return machine_page(machine, turn.now)


def _listed(allow: str | list[str] | None) -> list[str]:
    if isinstance(allow, str) and allow != "all":
        raise BadRequest('allow is "all" or a list of command names')
    return allow if isinstance(allow, list) else []


def _changed(rights: Rights, request: requests.SetMachine) -> Rights:
    if request.allow == "all":
        rights = EVERYTHING
    return rights.changed(
        allow=frozenset(_listed(request.allow)), deny=frozenset(request.deny or [])
    )
