"""Retention: a master deletes old jobs and output by itself."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from mythjobs.clock import master_now
from mythjobs.config import keys
from mythjobs.config.state import open_state
from mythjobs.master import requests
from mythjobs.master.output.spool import OutputKey, OutputSpool
from mythjobs.master.retention import MIN_SWEPT_CLASSES, RetentionService
from mythjobs.master.service import Master
from mythjobs.model.retention import DEFAULT, Retention, merge
from mythjobs.store.invariants.run import check
from mythjobs.store.queries.job_details import read_job
from mythjobs.store.queries.retention import count_classes, read_totals
from mythjobs.store.transaction import Transaction
from mythjobs.store.writes import commands
from tests.support import queue as q

DAY_MS = 86_400_000
OUTPUT_BYTES = 10

pytestmark = pytest.mark.slow


def run(
    root: Path,
    fill: Callable[[Transaction], None],
    story: Callable[[Master], Awaitable[None]],
    retention: Retention = DEFAULT,
) -> None:
    """Fill a store, then run a master on it. The invariants must hold at the end."""

    async def whole() -> None:
        state = open_state(root / "state")
        master = Master(
            state,
            keys.load_master_key(state),
            allow_local=True,
            local_jobs=1,
            retention=merge(retention, DEFAULT),
        )
        with master._store.transaction() as tx:
            q.enrol_machines(tx)
            fill(tx)
        master.start()
        try:
            await story(master)
            assert await master.read_long(check) == []
        finally:
            await master.close()

    asyncio.run(whole())


def end_jobs(tx: Transaction, *ages: float, command: str = "true", output: bool = False) -> None:
    """Run jobs that ended so many days ago."""
    now_ms = master_now().wall_ms
    for age in ages:
        job_id = q.queue_job(tx, command=command)
        kept = f"[[{OUTPUT_BYTES + 5}, {OUTPUT_BYTES}, 0]]" if output else ""
        q.run(tx, job_id, at_ms=now_ms - round(age * DAY_MS), output=kept)


def fill_spool(master: Master, job_ids: Sequence[int]) -> OutputSpool:
    spool = OutputSpool(master.state_dir.output)
    for job_id in job_ids:
        part = spool.open_partial(OutputKey(job_id, 1, 1), OUTPUT_BYTES)
        assert part is not None
        part.write(bytes(OUTPUT_BYTES))
        spool.commit([part])
    return spool


def kept_files(spool: OutputSpool, job_ids: Sequence[int]) -> list[int]:
    return [each for each in job_ids if spool.path(OutputKey(each, 1, 1)).exists()]


async def listed(master: Master) -> list[int]:
    return sorted(each["id"] for each in (await master.list_jobs())["jobs"])


def test_jobs_are_deleted_by_age_with_their_output(tmp_path: Path) -> None:
    def fill(tx: Transaction) -> None:
        q.define_command(tx, "brief", retention={"age": "1d"})
        q.define_command(tx, "precious", retention={"age": "forever"})
        end_jobs(tx, 100, 91, 89, output=True)  # 1, 2, 3
        end_jobs(tx, 2, 0.5, command="brief")  # 4, 5
        end_jobs(tx, 1000, command="precious")  # 6
        q.queue_job(tx)  # 7

    async def story(master: Master) -> None:
        spool = fill_spool(master, [1, 2, 3])
        await master.retention.run_pass()
        assert await listed(master) == [3, 5, 6, 7]
        assert kept_files(spool, [1, 2, 3]) == [3]
        status = (await master.read_status())["retention"]
        assert (status["deleted_jobs"], status["age_s"]) == (3, 90 * 86_400)
        assert status["last_pass_ms"] is not None

    run(tmp_path, fill, story)


def test_jobs_are_deleted_by_number_for_each_command(tmp_path: Path) -> None:
    def fill(tx: Transaction) -> None:
        q.define_command(tx, "brief", retention={"jobs": 2})
        end_jobs(tx, 5, 4, 3, 6, command="brief")  # 1 to 4
        end_jobs(tx, 5, 4, 3, 6)  # 5 to 8

    async def story(master: Master) -> None:
        await master.retention.run_pass()
        assert await listed(master) == [2, 3, 5, 6, 7]

    run(tmp_path, fill, story, Retention(jobs=3))


class InterruptedReads:
    """A master that is asked to prune after the `number`th read of the totals."""

    def __init__(self, master: Master, number: int, prune: Callable[[], Awaitable[int]]) -> None:
        self._master = master
        self._left = number
        self._prune = prune
        self.pruned: asyncio.Future[int] | None = None

    async def read(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        found = await self._master.read(function, *args, **kwargs)
        self._left -= function is read_totals
        if self._left == 0 and self.pruned is None:
            self.pruned = asyncio.ensure_future(self._prune())
            # It may have to wait until the pass has deleted what it has found.
            await asyncio.wait([self.pruned], timeout=0.3)
        return found

    async def read_long(self, function: Callable[[Transaction], Any]) -> Any:
        return await self._master.read_long(function)

    async def execute(self, request: requests.Request) -> Any:
        return await self._master.execute(request)


@pytest.mark.parametrize("number", [1, 2])
def test_a_prune_during_a_pass_leaves_the_number_of_jobs_to_keep(
    tmp_path: Path, number: int
) -> None:
    now_ms = master_now().wall_ms

    async def story(master: Master) -> None:
        def prune() -> Awaitable[int]:
            return service.prune(now_ms - DAY_MS * 7, (), lambda: False)

        reads = InterruptedReads(master, number, prune)
        service = RetentionService(reads, master.outputs.remove, Retention(math.inf, 5, math.inf))
        await service.run_pass()
        assert reads.pruned is not None
        await reads.pruned
        # Without a limit the prune would leave 6 jobs.
        assert await listed(master) == [6, 7, 8, 9, 10]

    run(tmp_path, lambda tx: end_jobs(tx, *range(11, 1, -1)), story)


def test_the_oldest_output_is_deleted_and_its_job_kept(tmp_path: Path) -> None:
    def fill(tx: Transaction) -> None:
        q.define_command(tx, "brief", retention={"output": f"{OUTPUT_BYTES}B"})
        end_jobs(tx, 5, 4, 3, output=True)  # 1, 2, 3
        end_jobs(tx, 2, 1, command="brief", output=True)  # 4, 5

    async def story(master: Master) -> None:
        spool = fill_spool(master, range(1, 6))
        await master.retention.run_pass()
        assert await listed(master) == [1, 2, 3, 4, 5]
        assert kept_files(spool, range(1, 6)) == [3, 5]
        status = (await master.read_status())["retention"]
        assert (status["output_bytes"], status["output_limit_bytes"]) == (20, 25)
        assert status["deleted_output_bytes"] == 30
        # Readers see that all of it was dropped, instead of an error.
        found = await master.outputs.read(1, None, 1, 0, follow=False)
        assert (found.dropped, found.length) == (OUTPUT_BYTES + 5, 0)
        page = await master.read(read_job, 1)
        assert page["attempts"][0]["output"] == [[OUTPUT_BYTES + 5, 0, 0]]

    run(tmp_path, fill, story, Retention(output_bytes=25))


def test_a_pass_goes_on_where_a_killed_master_had_deleted_files(tmp_path: Path) -> None:
    async def story(master: Master) -> None:
        spool = fill_spool(master, [1, 2])
        spool.remove([(1, 1)])
        await master.retention.run_pass()
        assert await listed(master) == []
        assert list(master.state_dir.output.iterdir()) == []  # no empty directories either

    run(tmp_path, lambda tx: end_jobs(tx, 99, 98, output=True), story)


def test_a_pass_deletes_any_number_of_jobs_in_slices(tmp_path: Path) -> None:
    def fill(tx: Transaction) -> None:
        defined = q.define_command(tx)
        q.queue_jobs(tx, 1200)
        tx.cursor.execute("UPDATE job SET state = 'cancelled', ended_ms = 1, ready_class = NULL, "
                          "reason_code = 'cancelled', reason = 'by anna'")  # fmt: skip
        tx.job_count_changes[defined.command_id, "queued"] -= 1200
        tx.job_count_changes[defined.command_id, "cancelled"] += 1200

    async def story(master: Master) -> None:
        await master.retention.run_pass()
        assert await listed(master) == []

    run(tmp_path, fill, story)


def test_job_classes_without_jobs_are_deleted(tmp_path: Path) -> None:
    def fill(tx: Transaction) -> None:
        defined = q.define_command(tx)
        q.queue_job(tx)
        for number in range(MIN_SWEPT_CLASSES):
            commands.ensure_class(tx, defined, "anna", labels=f'["label{number}"]')

    async def story(master: Master) -> None:
        assert await master.read(count_classes) == MIN_SWEPT_CLASSES + 1
        await master.retention.run_pass()
        assert await master.read(count_classes) == 1
        # A class is kept if a job was submitted since the jobs were read.
        await master.execute(requests.BeginClassSweep())
        await master.execute(requests.RerunJobs([1], "ben"))
        await master.execute(requests.CancelJobs([1], "ben"))
        await master.execute(requests.RerunJobs([1], "ben"))
        assert await master.read(count_classes) == 2
        assert await master.execute(requests.DeleteClasses([2])) == 0
        assert await master.read(count_classes) == 2

    run(tmp_path, fill, story)
