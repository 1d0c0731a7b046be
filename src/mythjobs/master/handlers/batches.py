"""Handlers of batch submits: begin, insert slices, drop; parser of uploaded batch files."""

from __future__ import annotations

from collections.abc import Iterator
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


def count_rows(path: Path, command: Command, header: BatchSubmit) -> int:
    """Validate a whole batch file, before any of its jobs is inserted. Return the number of jobs.

    Raises BadRequest for an invalid or empty file.
    """
    check_common(header)
    found = sum(1 for _ in read_rows(path, command, header))
    if not 0 < found <= MAX_BATCH_JOBS:
        raise BadRequest(f"a batch has 1 to {MAX_BATCH_JOBS} jobs; this one has {found}")
    return found


def begin_batch(turn: TurnContext, request: BeginBatch) -> BatchIds:
    revision = turn.catalog.find_command(turn.tx, request.command)
    first = turn.allocate_ids(request.jobs)
    batch_id = batches.begin_batch(
        turn.tx,
        command_id=revision.command_id,
        first_job_id=first,
        jobs=request.jobs,
        at_ms=turn.now.wall_ms,
        opened_ms=None,
    )
    return BatchIds(batch_id, first)


def insert_slice(turn: TurnContext, request: BatchSlice) -> BatchIds:
    """Insert some jobs of a batch. They stay invisible until the last slice opens the batch."""
    revision = commands.find_by_revision(turn.tx, request.revision_id)
    if revision is None:
        raise Conflict(f"command {request.command} was removed during the batch submit")
    ids = request.ids or begin_batch(turn, BeginBatch(request.command, len(request.rows)))
    command = turn.catalog.decoded_command(revision)
    class_id = turn.catalog.class_id(turn.tx, revision, request.submitter, request.requirements)
    first = ids.first_job_id + request.offset
    rows = [
        jobs.NewJob(
            first + i,
            class_id,
            revision.command_id,
            row.arguments,
            turn.now.wall_ms,
            batch_id=ids.batch_id,
            subject=row.subject,
            overlap=int(command.overlap),
            priority=request.priority,
            hold=batches.HOLD_UNOPENED,
            not_before_ms=request.not_before_ms,
            deadline_ms=request.deadline_ms,
            comment=request.comment,
        )
        for i, row in enumerate(request.rows)
    ]
    jobs.add(turn.tx, rows)
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


def drop_batch(turn: TurnContext, request: DropBatch) -> None:
    batches.drop_unopened(turn.tx, request.ids.batch_id)
    turn.state.has_upkeep = True
