"""Handlers of batch submits: begin, insert slices, drop; parser of uploaded batch files."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Final

import msgspec

from mythjobs.errors import BadRequest, Conflict
from mythjobs.master.handlers.submit import check_common, encode_job_arguments
from mythjobs.master.requests import BatchIds, BatchRow, BatchSlice, BeginBatch, DropBatch
from mythjobs.master.turn_context import TurnContext
from mythjobs.model.command import Command
from mythjobs.protocol.requests import MAX_BATCH_JOBS, BatchSubmit
from mythjobs.store.writes import batches, commands, jobs
from mythjobs.store.writes.commands import CommandRevision

# Maximum number of a batch's jobs that one turn inserts, because other requests share the turn.
SLICE_JOBS: Final = 500

_line_decoder = msgspec.json.Decoder(dict[str, str | int | float | None])


def read_rows(path: Path, command: Command, header: BatchSubmit) -> Iterator[BatchRow]:
    """Yield the jobs of a JSON Lines file. Raises BadRequest that names the first invalid line."""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                values = {k: v for k, v in _line_decoder.decode(line).items() if v is not None}
                yield BatchRow(*encode_job_arguments(command, values, header.subject))
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                raise BadRequest(f"line {number}: not an object of arguments: {error}") from None
            except BadRequest as error:
                raise BadRequest(f"line {number}: {error.sentence}") from None


def check_rows(path: Path, command: Command, header: BatchSubmit) -> tuple[int, list[BatchRow]]:
    """Validate a whole batch file, before any of its jobs is inserted.

    Return the number of jobs, and the first jobs: all of them if one slice is enough. Raises
    BadRequest for an invalid or empty file.
    """
    check_common(header)
    rows = read_rows(path, command, header)
    first = list(islice(rows, SLICE_JOBS))
    found = len(first) + sum(1 for _ in rows)
    if not 0 < found <= MAX_BATCH_JOBS:
        raise BadRequest(f"a batch has 1 to {MAX_BATCH_JOBS} jobs; this one has {found}")
    return found, first


def begin_batch(
    turn: TurnContext, request: BeginBatch, *, opened_ms: int | None = None
) -> BatchIds:
    revision = turn.catalog.find_command(turn.tx, request.command)
    first = turn.allocate_ids(request.jobs)
    batch_id = batches.begin_batch(
        turn.tx,
        command_id=revision.command_id,
        first_job_id=first,
        jobs=request.jobs,
        at_ms=turn.now.wall_ms,
        opened_ms=opened_ms,
    )
    return BatchIds(batch_id, first)


def insert_slice(turn: TurnContext, request: BatchSlice) -> BatchIds:
    """Insert some jobs of a batch. They stay invisible until the last slice opens the batch.

    Raises Conflict if the command was removed meanwhile.
    """
    revision = commands.find_by_revision(turn.tx, request.revision_id)
    if revision is None:
        raise Conflict(f"command {request.command} was removed during the batch submit")
    if request.ids is None:
        return _insert_whole(turn, request, revision)
    ids = request.ids
    first = ids.first_job_id + request.offset
    jobs.add(
        turn.tx,
        _make_rows(
            turn,
            request,
            revision,
            BatchIds(ids.batch_id, first),
            hold=batches.HOLD_UNOPENED,
            not_before_ms=request.not_before_ms,
        ),
    )
    if request.last:
        last = first + len(request.rows) - 1
        batches.open_batch(
            turn.tx,
            ids.batch_id,
            ids.first_job_id,
            last,
            held=request.hold,
            at_ms=turn.now.wall_ms,
        )
        turn.state.has_upkeep = True
        for each in (request.not_before_ms, request.deadline_ms):
            if each is not None:
                turn.state.schedule_turn(each)
    return ids


def _insert_whole(turn: TurnContext, request: BatchSlice, revision: CommandRevision) -> BatchIds:
    """Insert a batch with all its jobs, opened and ready: no other turn sees a part of it.

    Inserting the jobs unopened, and updating each one when the batch is opened, takes twice as
    long, which is 10 µs for each job.
    """
    now_ms = turn.now.wall_ms
    begin = BeginBatch(request.command, len(request.rows))
    ids = begin_batch(turn, begin, opened_ms=now_ms)
    is_due = request.not_before_ms is None or request.not_before_ms <= now_ms
    rows = _make_rows(
        turn,
        request,
        revision,
        ids,
        hold=int(request.hold),
        not_before_ms=None if is_due else request.not_before_ms,
    )
    jobs.add(turn.tx, rows)
    ready = (each.as_ready() for each in rows if each.ready_class is not None)
    turn.state.placement.add_ready(rows[0].class_id, ready)
    if not request.hold:
        turn.changed_subjects.update(each.subject for each in rows if each.subject is not None)
    for at_ms in (rows[0].not_before_ms, request.deadline_ms):
        if at_ms is not None:
            turn.state.schedule_turn(at_ms)
    return ids


def _make_rows(
    turn: TurnContext,
    request: BatchSlice,
    revision: CommandRevision,
    ids: BatchIds,
    *,
    hold: int,
    not_before_ms: int | None,
) -> list[jobs.NewJob]:
    """Return the rows of a slice's jobs. ids: of the batch, and of the slice's first job."""
    overlap = int(turn.catalog.decoded_command(revision).overlap)
    class_id = turn.catalog.class_id(turn.tx, revision, request.submitter, request.requirements)
    is_ready = not hold and not_before_ms is None
    return [
        jobs.NewJob(
            job_id,
            class_id,
            revision.command_id,
            row.arguments,
            turn.now.wall_ms,
            batch_id=ids.batch_id,
            subject=row.subject,
            overlap=overlap,
            priority=request.priority,
            hold=hold,
            not_before_ms=not_before_ms,
            ready_class=class_id if is_ready and row.subject is None else None,
            comment=request.comment,
            deadline_ms=request.deadline_ms,
        )
        for job_id, row in enumerate(request.rows, ids.first_job_id)
    ]


def drop_batch(turn: TurnContext, request: DropBatch) -> None:
    batches.drop_unopened(turn.tx, request.ids.batch_id)
    turn.state.has_upkeep = True
