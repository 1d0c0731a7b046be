"""Power cuts while a queue is written: acknowledged requests survive, and the store is consistent.

One recording, many cuts: after each, random contents of the disk are opened as a store. CI runs
500 cuts; `POWER_CUTS=20000` runs more.
"""

from __future__ import annotations

import os
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any, Final

import pytest

from mythjobs.errors import MythJobsError, StoreFailed
from mythjobs.master import requests
from mythjobs.master.turn_runner import CommittedTurn
from mythjobs.protocol.requests import AdHocRun, Submit
from mythjobs.store.backends.sqlite import SqliteStore
from mythjobs.store.invariants.run import check
from tests.integration.master.test_turn_runner import Program
from tests.support.power_cut import DiskModel
from tests.support.recording_disk import MountedDisk, Record, mount_recording_disk

CUTS: Final = int(os.environ.get("POWER_CUTS", "0"))
SEED: Final = int(os.environ.get("POWER_SEED", "1"))
SMALL: Final = {"unsafe": True, "reserve_bytes": 4096, "checkpoint_bytes": 128 * 1024}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[MountedDisk]:
    with mount_recording_disk(tmp_path) as mounted:
        yield mounted


class NotedRequest:
    """Takes the place of a future; the response is marked in the disk's log."""

    def __init__(self, what: str) -> None:
        self.what = what


class QueueWriter(Program):
    """A queue on a recording disk. Each response is marked in the log before it is sent."""

    def __init__(self, disk: MountedDisk, *, syncs: bool = True, **sizes: Any) -> None:
        self._disk = disk
        self.answers: list[tuple[str, Any]] = []
        store = SqliteStore(disk.path / "store.db", **{**SMALL, **sizes})
        if not syncs:
            store._writer.execute("PRAGMA synchronous = OFF")
        super().__init__(store)

    def _committed(self, turn: CommittedTurn) -> None:
        for asked, answer in turn.responses:
            if isinstance(asked, NotedRequest) and not isinstance(answer, MythJobsError):
                given = answer.id if asked.what.startswith("queued") else ""
                self._disk.mark(f"{asked.what} {given}")
                self.answers.append((asked.what, answer))
        super()._committed(
            CommittedTurn(turn.result, [each for each in turn.responses if _waits(each)], [], [])
        )

    def send_noted(self, what: str, request: requests.Request) -> None:
        """Send a request without waiting, so that turns have more than one request."""
        self.turns.put_request(request, NotedRequest(what))  # type: ignore[arg-type]

    def wait_until_committed(self) -> None:
        self.ask(requests.HoldJobs([]))


def _waits(answered: tuple[Any, Any]) -> bool:
    return not isinstance(answered[0], NotedRequest)


def write_jobs(program: QueueWriter, random: Random, rounds: int, first: int = 0) -> None:
    """Queue jobs; hold or cancel some of them, each at most once."""
    mine: list[int] = []
    for number in range(first, first + rounds):
        some = random.randint(1, 6)
        for each in range(some):
            run = AdHocRun(["/bin/true", "x" * random.choice([0, 10, 3000])])
            submit = Submit("run", run=run, key=f"k{number}.{each}", subject=random.choice("ab"))
            program.send_noted(f"queued k{number}.{each}", requests.SubmitJob(submit, "anna"))
        for _ in range(min(len(mine), random.randint(0, 3))):
            job_id = mine.pop(random.randrange(len(mine)))
            if random.random() < 0.5:
                program.send_noted(f"held {job_id}", requests.HoldJobs([job_id]))
            else:
                program.send_noted(f"cancelled {job_id}", requests.CancelJobs([job_id], "anna"))
        program.wait_until_committed()
        mine += [answer.id for what, answer in program.answers[-some:] if "queued" in what]


def find_lost_answers(connection: sqlite3.Connection, marks: Sequence[str]) -> list[str]:
    """Return the marks of acknowledged requests that the store does not show."""
    rows = connection.execute("SELECT job_id, key, state, hold FROM job")
    jobs = {str(job_id): (key, state, hold) for job_id, key, state, hold in rows}
    wrong = []
    for mark in marks:
        what, *words = mark.split()
        key, state, hold = jobs.get(words[-1], ("", "", 0))
        is_so = {"queued": key == words[0], "held": hold == 1, "cancelled": state == "cancelled"}
        if not is_so[what]:
            wrong.append(f"{mark}: {key} {state} {hold}")
    return wrong


def find_problems(directory: Path, marks: Sequence[str]) -> list[str]:
    """Open what a cut left; return all violations and lost requests."""
    path = directory / "store.db"
    if not marks and not path.exists():
        return []
    store = SqliteStore(path, **SMALL)  # type: ignore[arg-type]
    try:
        with store.snapshot() as tx:
            wrong = [each.sentence for each in check(tx)]
    finally:
        store.close()
    with closing(sqlite3.connect(path)) as connection:
        wrong += find_lost_answers(connection, marks)
        wrong += [row[0] for row in connection.execute("PRAGMA integrity_check") if row[0] != "ok"]
    return wrong


def check_cuts(
    records: Sequence[Record], places: Sequence[int], random: Random, directory: Path
) -> Counter[str]:
    """Cut the power after each of these numbers of records; fail at the first problem."""
    disk, done = DiskModel(), 0
    seen: Counter[str] = Counter()
    for place in sorted(places):
        disk.replay(records[done:place])
        done = place
        answers = [mark for mark in disk.marks if mark != "mounted"]
        seed = random.getrandbits(32)
        remains = disk.cut_power(Random(seed))
        for path in directory.iterdir():
            path.unlink()
        remains.write_to(directory)
        seen["lost"] += remains.files != remains.durable
        seen["log"] += bool(remains.files.get("store.db-wal"))
        wrong = find_problems(directory, answers)
        assert not wrong, f"cut after record {place} of {len(records)}, seed {seed}: {wrong[:5]}"
    return seen


@pytest.mark.slow
def test_acknowledged_requests_survive_a_power_cut(disk: MountedDisk, tmp_path: Path) -> None:
    random = Random(SEED)
    program = QueueWriter(disk)
    write_jobs(program, random, 60)
    program.close()
    program = QueueWriter(disk)
    write_jobs(program, random, 30, first=60)
    records = disk.read_records()
    program.close()
    after = tmp_path / "after"
    after.mkdir()
    cuts = CUTS or 500
    seen = check_cuts(records, random.choices(range(len(records)), k=cuts), random, after)
    # Many cuts must have lost unsynced data and left a log, or the test would show nothing.
    assert seen["lost"] > cuts / 4
    assert seen["log"] > cuts / 4


@pytest.mark.slow
def test_a_store_without_fsync_loses_acknowledged_requests(
    disk: MountedDisk, tmp_path: Path
) -> None:
    """Check that the test above can fail: without fsync a store loses acknowledged requests."""
    program = QueueWriter(disk, syncs=False)
    write_jobs(program, Random(SEED), 20)
    records = disk.read_records()
    program.close()
    after = tmp_path / "after"
    after.mkdir()
    lost = (AssertionError, StoreFailed, sqlite3.DatabaseError)
    with pytest.raises(lost, match=r"cut after record|damaged|malformed"):
        check_cuts(records, range(len(records) // 2, len(records), 100), Random(SEED), after)
