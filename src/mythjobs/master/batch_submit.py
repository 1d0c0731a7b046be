"""Submit of a batch: one job for each line of a file, inserted in slices."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path

from mythjobs.errors import BadRequest, command_not_found
from mythjobs.master import requests
from mythjobs.master.catalog import decode_command
from mythjobs.master.handlers import batches
from mythjobs.master.handlers.submit import check_machine_joined, job_requirements
from mythjobs.master.service import Master
from mythjobs.model.command import RUN, Command
from mythjobs.protocol import responses
from mythjobs.protocol.requests import BatchSubmit
from mythjobs.store.writes import commands


async def submit_batch(
    master: Master, header: BatchSubmit, path: Path, submitter: str
) -> responses.SubmittedBatch:
    """Submit one job per line of a file.

    Raises BadRequest naming the first invalid line; no job of such a batch is stored.
    """
    defined = await master.read(commands.find_by_name, header.command)
    if defined is None:
        names = await master.read(commands.read_names)
        raise command_not_found(header.command, names.values())
    if header.command == RUN:
        raise BadRequest('"run" takes no batch file')
    check_machine_joined(master.state, header)
    command = decode_command(defined.definition)
    jobs, rows = await asyncio.to_thread(batches.check_rows, path, command, header)
    make_slice = partial(
        requests.BatchSlice,
        command=header.command,
        revision_id=defined.revision_id,
        submitter=submitter,
        priority=header.priority,
        hold=header.hold,
        comment=header.comment,
        requirements=job_requirements(header),
        not_before_ms=header.not_before_ms,
        deadline_ms=header.deadline_ms,
    )
    if jobs <= batches.SLICE_JOBS:
        batch_ids = await master.execute(make_slice(ids=None, offset=0, rows=rows, last=True))
    else:
        batch_ids = await _submit_slices(master, make_slice, header, path, command, jobs)
    return {
        "batch": batch_ids.batch_id,
        "ids": [batch_ids.first_job_id, batch_ids.first_job_id + jobs - 1],
        "jobs": jobs,
    }


async def _submit_slices(
    master: Master,
    make_slice: Callable[..., requests.BatchSlice],
    header: BatchSubmit,
    path: Path,
    command: Command,
    jobs: int,
) -> requests.BatchIds:
    batch_ids: requests.BatchIds = await master.execute(requests.BeginBatch(header.command, jobs))
    rows = batches.read_rows(path, command, header)
    try:
        for offset in range(0, jobs, batches.SLICE_JOBS):
            some = await asyncio.to_thread(lambda: list(islice(rows, batches.SLICE_JOBS)))
            last = offset + len(some) >= jobs
            await master.execute(make_slice(ids=batch_ids, offset=offset, rows=some, last=last))
    except BaseException:
        await asyncio.shield(master.execute(requests.DropBatch(batch_ids)))
        raise
    return batch_ids
