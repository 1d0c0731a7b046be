"""Turns while the store is full or away: requests are rejected, messages of agents wait."""

from __future__ import annotations

import queue
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest

from mythjobs.clock import master_now
from mythjobs.errors import AlreadyRunning, MythJobsError, StoreFull, StoreUnavailable
from mythjobs.master import requests, turn_runner
from mythjobs.master.attempts import timers
from mythjobs.master.core import MasterCore
from mythjobs.master.isolation import OwnWork
from mythjobs.master.turn_context import TurnContext
from mythjobs.master.turn_runner import CommittedTurn, TurnRunner
from mythjobs.protocol.messages import AgentFrame, Hello
from mythjobs.protocol.requests import AdHocRun, Submit
from mythjobs.store.backends.sqlite import SqliteStore
from mythjobs.store.invariants.run import check
from mythjobs.store.open import Store, open_store
from mythjobs.store.queries.job_details import read_job
from mythjobs.store.queries.jobs import list_jobs
from tests.support import disks, postgres


@dataclass
class Asked:
    """In place of a future, which the turn runner only passes on."""

    answers: queue.SimpleQueue[Any] = field(default_factory=queue.SimpleQueue)


class Program:
    """A turn runner with a real core on a real store."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.acked: queue.SimpleQueue[int] = queue.SimpleQueue()
        self.failures: list[BaseException] = []
        self.turns = TurnRunner(
            store,
            MasterCore(allow_local=True, local_jobs=1),
            master_now,
            on_commit=self._committed,
            on_failure=self.failures.append,
        )
        self.turns.start()

    def _committed(self, turn: CommittedTurn) -> None:
        if turn.result is not None:
            for frame_no in turn.result.acks.values():
                self.acked.put(frame_no)
        for asked, answer in turn.responses:
            asked.answers.put(answer)  # type: ignore[attr-defined]

    def ask(self, request: requests.Request) -> Any:
        asked = Asked()
        self.turns.put_request(request, asked)  # type: ignore[arg-type]
        return asked.answers.get(timeout=60)

    def submit(self, program: str = "/bin/true") -> Any:
        run = AdHocRun([program])
        return self.ask(requests.SubmitJob(Submit("run", run=run), "anna"))

    def close(self) -> None:
        self.turns.close()
        self.store.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with disks.mount_small_disk(tmp_path) as path:
        yield path


def test_submits_are_rejected_while_the_disk_is_full(small_disk: Path) -> None:
    program = Program(SqliteStore(small_disk / "store.db", reserve_bytes=256 * 1024))
    assert program.submit().id == 1
    ballast = disks.fill_disk(small_disk)
    for _ in range(1000):
        answer = program.submit()
        if isinstance(answer, MythJobsError):
            break
    assert isinstance(answer, StoreFull)
    assert answer.http == 507
    # A disk of 14 MiB was called full with 14 MiB free.
    again = program.submit()
    assert isinstance(again, StoreFull)
    full = f"the disk of the store {small_disk}/store.db is full: 16 MiB must be free"
    assert again.sentence == f"{full}; free space there, then try again"
    assert program.store.describe_full_disk() == full
    # Requests that finish existing jobs still work.
    [acted] = program.ask(requests.CancelJobs([1], "anna"))
    assert (acted.done, acted.state) == ("cancelled", "cancelled")
    assert isinstance(program.submit(), StoreFull)
    ballast.unlink()
    assert program.submit().id > 1
    assert program.store.describe_full_disk() == ""
    assert program.failures == []
    with program.store.snapshot() as tx:
        assert check(tx) == []
    program.close()


@pytest.fixture(scope="module")
def server() -> Iterator[postgres.PostgresServer]:
    binaries = postgres.find_binaries()
    if binaries is None:
        pytest.skip("PostgreSQL is not installed")
    with postgres.run_server(binaries) as running:
        yield running


def test_requests_are_rejected_and_messages_wait_while_the_database_is_down(
    server: postgres.PostgresServer,
) -> None:
    url = server.create_database()
    program = Program(open_store(url, unsafe=True))
    assert program.submit().id == 1
    hello = Hello(1, "key", "", "", "attic", "boot", "first", 1)
    attach = requests.Attach(hello, trusted=True, connection=7)
    assert program.ask(attach).machine_id == 1
    with server.stopped():
        assert isinstance(program.submit(), StoreUnavailable)
        program.turns.put_message(requests.FrameReceived(7, AgentFrame(5, 0, 0, [])))
        # Queued behind the message: when this is rejected, the message is waiting.
        refused = program.submit()
        assert isinstance(refused, StoreUnavailable)
        assert refused.http == 503
        assert program.acked.empty()
    assert program.acked.get(timeout=60) == 5
    assert program.submit().id == 2
    with program.store.snapshot() as tx:
        assert len(list_jobs(tx)["jobs"]) == 2
        assert check(tx) == []
    assert program.failures == []
    program.close()


def test_the_master_stops_if_another_master_took_its_database(
    server: postgres.PostgresServer,
) -> None:
    url = server.create_database()
    program = Program(open_store(url, unsafe=True))
    assert program.submit().id == 1
    with psycopg.connect(url, autocommit=True) as session:
        session.execute(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    other = open_store(url, unsafe=True)
    refused = program.submit()
    assert isinstance(refused, AlreadyRunning)
    assert refused.exit_code == 75
    program.close()
    assert [type(each) for each in program.failures] == [AlreadyRunning]
    other.close()


def test_a_start_time_beyond_the_longest_timeout_is_accepted(tmp_path: Path) -> None:
    for _ in range(2):
        program = Program(open_store(tmp_path / "store.db", unsafe=True))
        run = AdHocRun(["/bin/true"])
        far_ms = 253_402_300_799_000  # the end of the year 9999
        asked = Submit("run", run=run, not_before_ms=far_ms, deadline_ms=far_ms)
        assert program.ask(requests.SubmitJob(asked, "anna")).state == "queued"
        # A turn after the runner computed its timeout.
        assert program.submit().new
        assert program.failures == []
        program.close()


def test_failing_timers_are_retried_at_an_interval_and_logged_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(turn_runner, "_RETRY_MS", 20)
    program = Program(open_store(tmp_path / "store.db", unsafe=True))
    tries: queue.SimpleQueue[None] = queue.SimpleQueue()
    broken, original = True, timers.run_due

    def run_due(turn: TurnContext, work: OwnWork) -> None:
        tries.put(None)
        if broken:
            raise ZeroDivisionError
        original(turn, work)

    monkeypatch.setattr(timers, "run_due", run_due)
    soon = Submit("run", run=AdHocRun(["/bin/true"]), not_before_ms=master_now().wall_ms + 2000)
    job = program.ask(requests.SubmitJob(soon, "anna")).id
    for _ in range(20):
        tries.get(timeout=60)
    logged = [each.message for each in caplog.records if each.name == "mythjobs.master"]
    assert logged == [
        "due jobs failed; retrying every second",
        "deadlines failed; retrying every second",
        "deferrals failed; retrying every second",
    ]
    broken = False
    # The timers run again when the interval has passed, which is not yet in the next turn.
    deadline_s = time.monotonic() + 60
    while True:
        with program.store.snapshot() as tx:
            if read_job(tx, job)["not_before_ms"] is None:
                break
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
    assert program.failures == []
    program.close()
