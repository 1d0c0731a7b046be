"""A failed fsync: nothing is acknowledged after it, and earlier acknowledged jobs survive."""

from __future__ import annotations

import os
import queue
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Final

import pytest

from mythjobs.errors import MythJobsError, StoreFailed
from mythjobs.master import requests
from mythjobs.protocol.requests import AdHocRun, Submit
from tests.acceptance.disk.test_power_cut_store import (
    QueueWriter,
    check_cuts,
    find_problems,
    write_jobs,
)
from tests.integration.master.test_turn_runner import Asked
from tests.support.recording_disk import MountedDisk, mount_recording_disk

FAULTS: Final = int(os.environ.get("POWER_FAULTS", "0")) or 40


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[MountedDisk]:
    with mount_recording_disk(tmp_path) as mounted:
        yield mounted


def submit_until_it_fails(program: QueueWriter) -> list[str]:
    """Submit jobs until the store fails; return the marks of the acknowledged ones."""
    answered: list[str] = []
    while True:
        run = AdHocRun(["/bin/true", "x" * 3000])
        key = f"f{len(answered)}.{id(program)}"
        asked = Asked()
        request = requests.SubmitJob(Submit("run", run=run, key=key), "anna")
        program.turns.put_request(request, asked)  # type: ignore[arg-type]
        while not program.failures:
            try:
                answer = asked.answers.get(timeout=0.1)
                break
            except queue.Empty:
                pass  # a failure between two turns ends the process without a response
        else:
            return answered
        if isinstance(answer, MythJobsError):
            assert isinstance(answer, StoreFailed), answer
            assert answer.exit_code == 74
            return answered
        answered.append(f"queued {key} {answer.id}")


@pytest.mark.slow
def test_nothing_is_acknowledged_after_a_failed_fsync(disk: MountedDisk, tmp_path: Path) -> None:
    QueueWriter(disk).close()
    answered: list[str] = []
    for number in range(1, FAULTS + 1):
        program = QueueWriter(disk, checkpoint_bytes=32 * 1024)
        disk.fail_sync(number, "store.db")
        some = submit_until_it_fails(program)
        answered += some
        # Later requests are refused too, although the disk works again.
        [failure] = program.failures
        assert isinstance(failure, StoreFailed)
        assert "Check or replace the disk" in failure.sentence
        with pytest.raises(StoreFailed), program.store.transaction():
            pass
        program.close()
        assert find_problems(disk.path, answered) == []


@pytest.mark.slow
def test_jobs_acknowledged_after_a_failed_fsync_survive_a_power_cut(
    disk: MountedDisk, tmp_path: Path
) -> None:
    """After a failed fsync the page cache has data that the disk does not have. The next master
    must write that data again before it uses the store."""
    random = Random(1)
    after = tmp_path / "after"
    after.mkdir()
    QueueWriter(disk).close()
    for number in (2, 5, 9):
        program = QueueWriter(disk)
        disk.fail_sync(number, "store.db")
        submit_until_it_fails(program)
        program.close()
        before = len(disk.read_records())
        program = QueueWriter(disk, checkpoint_bytes=64 * 1024)
        write_jobs(program, random, 6, first=100 * number)
        records = disk.read_records()
        program.close()
        check_cuts(records, random.choices(range(before, len(records)), k=60), random, after)
