"""The power is cut while a queue is written: whatever was answered is there, and nothing is half
there. One recording, many cuts: at each, what the disk holds is drawn and opened as a store.

More than CI's number: `POWER_CUTS=20000`.
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
from tests.support.powercut import Disk
from tests.support.powerdisk import Mounted, Record, power_disk

CUTS: Final = int(os.environ.get("POWER_CUTS", "0"))
SEED: Final = int(os.environ.get("POWER_SEED", "1"))
SMALL: Final = {"unsafe": True, "reserve_bytes": 4096, "checkpoint_bytes": 128 * 1024}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Mounted]:
    with power_disk(tmp_path) as mounted:
        yield mounted


class Noted:
    """Stands for a future. What is asked is noted on the disk when it is answered."""

    def __init__(self, what: str) -> None:
        self.what = what


class Writer(Program):
    """A queue on the disk that remembers; an answer is noted there before it is given."""

    def __init__(self, disk: Mounted, *, syncs: bool = True, **sizes: Any) -> None:
        self._disk = disk
        self.answered: list[tuple[str, Any]] = []
        store = SqliteStore(disk.path / "store.db", **{**SMALL, **sizes})
        if not syncs:
            store._writer.execute("PRAGMA synchronous = OFF")
        super().__init__(store)

    def _committed(self, turn: CommittedTurn) -> None:
        for asked, answer in turn.responses:
            if isinstance(asked, Noted) and not isinstance(answer, MythJobsError):
                given = answer.id if asked.what.startswith("queued") else ""
                self._disk.mark(f"{asked.what} {given}")
                self.answered.append((asked.what, answer))
        super()._committed(
            CommittedTurn(turn.result, [each for each in turn.responses if _waits(each)], [], [])
        )

    def let(self, what: str, request: requests.Request) -> None:
        """Asks without waiting for the answer, so that turns have more than one request."""
        self.turns.put_request(request, Noted(what))  # type: ignore[arg-type]

    def barrier(self) -> None:
        self.ask(requests.HoldJobs([]))


def _waits(answered: tuple[Any, Any]) -> bool:
    return not isinstance(answered[0], Noted)


def write(program: Writer, random: Random, rounds: int, first: int = 0) -> None:
    """Jobs are queued; some are then held or cancelled, each at most once."""
    mine: list[int] = []
    for number in range(first, first + rounds):
        some = random.randint(1, 6)
        for each in range(some):
            run = AdHocRun(["/bin/true", "x" * random.choice([0, 10, 3000])])
            submit = Submit("run", run=run, key=f"k{number}.{each}", subject=random.choice("ab"))
            program.let(f"queued k{number}.{each}", requests.SubmitJob(submit, "anna"))
        for _ in range(min(len(mine), random.randint(0, 3))):
            job_id = mine.pop(random.randrange(len(mine)))
            if random.random() < 0.5:
                program.let(f"held {job_id}", requests.HoldJobs([job_id]))
            else:
                program.let(f"cancelled {job_id}", requests.CancelJobs([job_id], "anna"))
        program.barrier()
        mine += [answer.id for what, answer in program.answered[-some:] if "queued" in what]


def promised(connection: sqlite3.Connection, marks: Sequence[str]) -> list[str]:
    """What of these answers is not so."""
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


def look(directory: Path, marks: Sequence[str]) -> list[str]:
    """Opens what a cut left, and says all that is not as promised."""
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
        wrong += promised(connection, marks)
        wrong += [row[0] for row in connection.execute("PRAGMA integrity_check") if row[0] != "ok"]
    return wrong


def cut_at(
    records: Sequence[Record], places: Sequence[int], random: Random, directory: Path
) -> Counter[str]:
    """Cuts the power after each of these many records, and fails with the first broken promise."""
    disk, done = Disk(), 0
    seen: Counter[str] = Counter()
    for place in sorted(places):
        disk.follow(records[done:place])
        done = place
        answers = [mark for mark in disk.marks if mark != "mounted"]
        seed = random.getrandbits(32)
        remains = disk.cut(Random(seed))
        for path in directory.iterdir():
            path.unlink()
        remains.put(directory)
        seen["lost"] += remains.files != remains.durable
        seen["log"] += bool(remains.files.get("store.db-wal"))
        wrong = look(directory, answers)
        assert not wrong, f"cut after record {place} of {len(records)}, seed {seed}: {wrong[:5]}"
    return seen


@pytest.mark.slow
def test_what_was_answered_before_a_power_cut_is_there_after_it(
    disk: Mounted, tmp_path: Path
) -> None:
    random = Random(SEED)
    program = Writer(disk)
    write(program, random, 60)
    program.close()
    program = Writer(disk)
    write(program, random, 30, first=60)
    records = disk.records()
    program.close()
    after = tmp_path / "after"
    after.mkdir()
    cuts = CUTS or 500
    seen = cut_at(records, random.choices(range(len(records)), k=cuts), random, after)
    # The test tests something: in most cuts something was lost, and there was a log to read.
    assert seen["lost"] > cuts / 4
    assert seen["log"] > cuts / 4


@pytest.mark.slow
def test_a_store_that_does_not_wait_for_the_disk_is_caught(disk: Mounted, tmp_path: Path) -> None:
    """A test of the test above: without its fsyncs a store loses what it answered."""
    program = Writer(disk, syncs=False)
    write(program, Random(SEED), 20)
    records = disk.records()
    program.close()
    after = tmp_path / "after"
    after.mkdir()
    lost = (AssertionError, StoreFailed, sqlite3.DatabaseError)
    with pytest.raises(lost, match=r"cut after record|damaged|malformed"):
        cut_at(records, range(len(records) // 2, len(records), 100), Random(SEED), after)
