"""Submits: one job, or the slices of a batch."""

from __future__ import annotations

import json

import msgspec

from mythjobs.errors import BadRequest, Conflict
from mythjobs.master.asks import NO_WORDS, OwnWords
from mythjobs.master.requests import (
    BatchPlace,
    BatchRow,
    BatchSlice,
    BeginBatch,
    DropBatch,
    SubmitJob,
)
from mythjobs.master.turn_context import Turn
from mythjobs.model.arguments import MOST_ARGUMENT, check_arguments
from mythjobs.model.command import RUN, Command
from mythjobs.model.life import FINAL, JobState
from mythjobs.model.policy_tables import read_bounds, read_labels, read_semaphores
from mythjobs.model.template import Template
from mythjobs.protocol.requests import AdHoc, After, BatchSubmit, Submit
from mythjobs.store.writes import batches, commands, dependencies, jobs

# An execve(2) takes 2 MiB of arguments and environment here; half of it leaves room for the
# environment that the machine adds.
_MOST_RUN_BYTES = 2**20
_MOST_KEY = 200
_MOST_SUBJECT = 4096
_MOST_NAME = 100
_MOST_COMMENT = 10_000


def submit(turn: Turn, request: SubmitJob) -> tuple[int, bool]:
    """The job's id, and whether it is new. Raises BadRequest, NoSuchCommand, Conflict."""
    asked = request.submit
    _check(asked)
    if asked.key is not None and (there := jobs.by_key(turn.tx, asked.key)) is not None:
        return there[0], False
    defined = turn.book.named(turn.tx, asked.command)
    command = turn.book.command(defined)
    arguments, subject = _arguments(command, asked)
    words = own_words(asked, prefer=_lies_on(turn, subject))
    class_id = turn.book.class_id(turn.tx, defined, request.submitter, words)
    after = _states(turn, asked.after)
    vain = [each for each, state in after if _in_vain(each, state)]
    unmet = sum(state not in FINAL for _, state in after)
    due = asked.not_before_ms is None or asked.not_before_ms <= turn.now.wall_ms
    job_id = turn.take_ids(1)
    ready = not (asked.hold or unmet or vain or subject) and due
    jobs.add(
        turn.tx,
        [
            jobs.NewJob(
                job_id,
                class_id,
                defined.command_id,
                arguments,
                turn.now.wall_ms,
                key=asked.key,
                subject=subject,
                overlap=int(command.overlap),
                priority=asked.priority,
                hold=int(asked.hold),
                not_before_ms=None if due else asked.not_before_ms,
                unmet=unmet,
                ready_class=class_id if ready else None,
                comment=asked.comment,
                deadline_ms=asked.deadline_ms,
            )
        ],
    )
    _depend(turn, job_id, after)
    if asked.deadline_ms is not None:
        turn.memory.due(asked.deadline_ms)
    if asked.not_before_ms is not None and not due:
        turn.memory.due(asked.not_before_ms)
    if vain:
        why = f"job {vain[0].job}, which it waits for, did not end as asked ({vain[0].when})"
        turn.cancel_queued([job_id], lambda _: why, code="dependency_failed")
    elif subject is not None:
        turn.subjects.add(subject)
    elif ready:
        turn.memory.waking.add(class_id)
    return job_id, True


def _check(asked: Submit) -> None:
    check_words(asked)
    if asked.key is not None and not 0 < len(asked.key) <= _MOST_KEY:
        raise BadRequest(f"key must have 1 to {_MOST_KEY} characters")
    if len(asked.after) > 1000:
        raise BadRequest("a job can wait for at most 1000 others")
    if "\0" in (asked.key or ""):
        raise BadRequest("key must not have a NUL character")
    if (asked.command == RUN) != (asked.run is not None):
        raise BadRequest('command "run" and what to run belong together')


def check_words(asked: Submit | BatchSubmit) -> None:
    """What is the same for one job and for many. Raises BadRequest."""
    if not -100 <= asked.priority <= 100:
        raise BadRequest(f"priority {asked.priority} is not between -100 and 100")
    if len(asked.comment) > _MOST_COMMENT:
        raise BadRequest(f"comment must have at most {_MOST_COMMENT} characters")
    if "\0" in asked.comment:
        raise BadRequest("comment must not have a NUL character")
    if asked.deadline_ms is not None and asked.deadline_ms < (asked.not_before_ms or 0):
        raise BadRequest("its deadline is before the time that it waits for")


def own_words(asked: Submit | BatchSubmit, prefer: str = "") -> OwnWords:
    """What the job itself says that placement needs. Raises BadRequest.

    prefer: the machine that is preferred if the job names none.
    """
    if not (asked.machine or asked.prefer or prefer or asked.labels or asked.semaphores):
        if not asked.limits:
            return NO_WORDS
    for name in (asked.machine, asked.prefer):
        if len(name) > _MOST_NAME:
            raise BadRequest(f"a machine's name has at most {_MOST_NAME} characters")
    read_bounds(asked.limits)
    return OwnWords(
        asked.machine,
        asked.prefer or prefer,
        read_labels({"labels": asked.labels}),
        read_semaphores(asked.semaphores),
        tuple(sorted(asked.limits.items())),
    )


def _lies_on(turn: Turn, subject: str | None) -> str:
    """The machine whose owner says that the directory of the subject is its own."""
    if subject is None or not subject.startswith("/"):
        return ""
    best, name = 0, ""
    for machine in turn.memory.machines.values():
        for each in machine.owner.files:
            if len(each) > best and subject.startswith(each.rstrip("/") + "/"):
                best, name = len(each), machine.name
    return name


def _arguments(command: Command, asked: Submit) -> tuple[str, str | None]:
    """The arguments as stored, and the subject. Raises BadRequest."""
    if asked.run is not None:
        _check_run(asked.run)
        return msgspec.json.encode(asked.run).decode(), _check_subject(asked.subject)
    return job_arguments(command, asked.arguments, asked.subject)


def job_arguments(
    command: Command, given: dict[str, str | int | float], subject: str | None
) -> tuple[str, str | None]:
    """Arguments as stored and subject of one job. Raises BadRequest naming the parameter."""
    values = check_arguments(command, given)
    if subject is None and command.subject:
        subject = Template(command.subject).fill(values)
    return json.dumps(values, ensure_ascii=False), _check_subject(subject)


def _check_subject(subject: str | None) -> str | None:
    if subject is not None and len(subject) > _MOST_SUBJECT:
        raise BadRequest(f"subject must have at most {_MOST_SUBJECT} characters")
    if "\0" in (subject or ""):
        raise BadRequest("subject must not have a NUL character")
    return subject or None


def _check_run(run: AdHoc) -> None:
    if not run.argv or not run.argv[0]:
        raise BadRequest("there is no program to run")
    if not run.cwd.startswith("/"):
        raise BadRequest(f'the directory "{run.cwd}" is not absolute')
    texts = [*run.argv, *(f"{name}={value}" for name, value in run.env.items())]
    if any("\0" in each for each in texts):
        raise BadRequest("an argument or a variable has a NUL character")
    if any("=" in name or not name for name in run.env):
        raise BadRequest("a variable of the environment has no name, or = in it")
    sizes = [len(each.encode()) for each in texts]
    if max(sizes) > MOST_ARGUMENT or sum(sizes) > _MOST_RUN_BYTES:
        raise BadRequest(
            f"arguments and environment have {sum(sizes)} bytes, the longest {max(sizes)}; "
            f"the system takes {_MOST_RUN_BYTES} in all and {MOST_ARGUMENT} each"
        )
    if run.wall_s is not None and run.wall_s <= 0:
        raise BadRequest("the wall limit must be longer than nothing")


def _states(turn: Turn, after: list[After]) -> list[tuple[After, JobState]]:
    """Raises BadRequest for a job that is not there or stands twice."""
    if not after:
        return []
    found = jobs.flags(turn.tx, [each.job for each in after])
    for each in after:
        if each.job not in found or found[each.job].hold == batches.CLOSED:
            raise BadRequest(f"it shall wait for job {each.job}, which is not there")
    if len({each.job for each in after}) < len(after):
        raise BadRequest("a job it shall wait for stands twice")
    return [(each, JobState(found[each.job].state)) for each in after]


def _in_vain(after: After, state: JobState) -> bool:
    return state in FINAL and not dependencies.accepts(after.when, state)


def _depend(turn: Turn, job_id: int, after: list[tuple[After, JobState]]) -> None:
    if after:
        rows = [(job_id, each.job, each.when, state in FINAL) for each, state in after]
        dependencies.add(turn.tx, rows)
        if any(state not in FINAL for _, state in after):
            turn.memory.open_dependencies = True


def begin_batch(turn: Turn, request: BeginBatch) -> BatchPlace:
    defined = turn.book.named(turn.tx, request.command)
    first = turn.take_ids(request.jobs)
    batch_id = batches.begin(
        turn.tx,
        command_id=defined.command_id,
        first=first,
        jobs=request.jobs,
        at_ms=turn.now.wall_ms,
        opened_ms=None,
    )
    return BatchPlace(batch_id, first)


def batch_slice(turn: Turn, request: BatchSlice) -> BatchPlace:
    """Inserts rows that cannot be seen yet; the last ones open the batch."""
    defined = commands.by_revision(turn.tx, request.revision_id)
    if defined is None:
        raise Conflict("the command of this batch was removed meanwhile")
    place = request.place or begin_batch(turn, BeginBatch(request.command, len(request.rows)))
    command = turn.book.command(defined)
    class_id = turn.book.class_id(turn.tx, defined, request.submitter, request.words)
    first = place.first + request.offset
    jobs.add(
        turn.tx,
        [
            _batch_job(turn, request, place, first + i, row, class_id, defined.command_id, command)
            for i, row in enumerate(request.rows)
        ],
    )
    if request.last:
        last = first + len(request.rows) - 1
        batches.open_(
            turn.tx,
            place.batch,
            place.first,
            last,
            held=request.hold,
            at_ms=turn.now.wall_ms,
        )
        turn.memory.upkeep = True
        for each in (request.not_before_ms, request.deadline_ms):
            if each is not None:
                turn.memory.due(each)
    return place


def _batch_job(
    turn: Turn,
    request: BatchSlice,
    place: BatchPlace,
    job_id: int,
    row: BatchRow,
    class_id: int,
    command_id: int,
    command: Command,
) -> jobs.NewJob:
    return jobs.NewJob(
        job_id,
        class_id,
        command_id,
        row.arguments,
        turn.now.wall_ms,
        batch_id=place.batch,
        subject=row.subject,
        overlap=int(command.overlap),
        priority=request.priority,
        hold=batches.CLOSED,
        not_before_ms=request.not_before_ms,
        deadline_ms=request.deadline_ms,
        comment=request.comment,
    )


def drop_batch(turn: Turn, request: DropBatch) -> None:
    batches.drop_unopened(turn.tx, request.place.batch)
