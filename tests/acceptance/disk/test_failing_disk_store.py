"""The disk fails at the n-th fsync: nothing is answered after it, and the next start has all that
was answered before, also when the power is cut later."""

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
from tests.acceptance.disk.test_power_cut_store import Writer, cut_at, look, write
from tests.integration.master.test_turn_runner import Asked
from tests.support.powerdisk import Mounted, power_disk

FAULTS: Final = int(os.environ.get("POWER_FAULTS", "0")) or 40


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Mounted]:
    with power_disk(tmp_path) as mounted:
        yield mounted


def submit_until_it_fails(program: Writer) -> list[str]:
    """What was answered with success; the failure is the last that is."""
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
                pass  # it failed between two turns: then the process ends without an answer
        else:
            return answered
        if isinstance(answer, MythJobsError):
            assert isinstance(answer, StoreFailed), answer
            assert answer.exit_code == 74
            return answered
        answered.append(f"queued {key} {answer.id}")


@pytest.mark.slow
def test_nothing_is_answered_after_a_failed_fsync_and_a_restart_has_the_rest(
    disk: Mounted, tmp_path: Path
) -> None:
    Writer(disk).close()
    answered: list[str] = []
    for number in range(1, FAULTS + 1):
        program = Writer(disk, checkpoint_bytes=32 * 1024)
        disk.fail_sync(number, "store.db")
        some = submit_until_it_fails(program)
        answered += some
        # Later requests are not answered either, although the disk is good again.
        [failure] = program.failures
        assert isinstance(failure, StoreFailed)
        assert "nothing of the last transaction was acknowledged" in failure.sentence
        with pytest.raises(StoreFailed), program.store.transaction():
            pass
        program.close()
        assert look(disk.path, answered) == []


@pytest.mark.slow
def test_what_is_answered_after_a_failed_disk_came_back_outlives_a_power_cut(
    disk: Mounted, tmp_path: Path
) -> None:
    """What the failed fsync was to write is read by the living and is not on the disk; nothing
    may be built on it before it is."""
    random = Random(1)
    after = tmp_path / "after"
    after.mkdir()
    Writer(disk).close()
    for number in (2, 5, 9):
        program = Writer(disk)
        disk.fail_sync(number, "store.db")
        submit_until_it_fails(program)
        program.close()
        before = len(disk.records())
        program = Writer(disk, checkpoint_bytes=64 * 1024)
        write(program, random, 6, first=100 * number)
        records = disk.records()
        program.close()
        cut_at(records, random.choices(range(before, len(records)), k=60), random, after)
