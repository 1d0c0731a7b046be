"""One bad row, job class or message: it is set aside, and everything else goes on."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mythjobs.clock import master_now
from mythjobs.master import requests
from mythjobs.master.explain.job import explain_job, list_set_aside
from mythjobs.master.placement import fit_cache
from mythjobs.protocol import messages as m
from mythjobs.protocol.requests import Dependency, Submit
from mythjobs.scheduler.eligibility import compute_fit
from mythjobs.store.invariants.run import check
from mythjobs.store.open import open_store
from mythjobs.store.queries.job_details import read_job
from mythjobs.store.writes.machines import read_footprints
from tests.integration.master.test_turn_runner import Program


class Queue(Program):
    """A master whose store a test damages while the master is not running."""

    def __init__(self, path: Path) -> None:
        super().__init__(open_store(path / "store.db", unsafe=True))
        self.frames = 0
        self.is_closed = False

    def close(self) -> None:
        if not self.is_closed:
            self.is_closed = True
            super().close()

    def attach(self, name: str = "attic", cores: int = 8) -> None:
        can = sorted(m.CAPABILITIES)
        hello = m.Hello(1, f"key of {name}", "", "", name, "boot", "first", cores, can=can)
        self.ask(requests.Attach(hello, trusted=True, connection=7))
        self.send(m.Heartbeat(1, []))
        self.ask(requests.SetMachine(name, jobs=cores))

    def send(self, *messages: m.AgentMessage) -> None:
        """Send a frame, and wait until the master acknowledges it."""
        self.frames += 1
        frame = m.AgentFrame(self.frames, 10**6, 0, list(messages))
        self.turns.put_message(requests.FrameReceived(7, frame))
        while self.acked.get(timeout=60) < self.frames:
            pass

    def define(self, *names: str) -> None:
        for name in names:
            definition: dict[str, object] = {"name": name, "argv": ["/bin/true"]}
            self.ask(requests.DefineCommand(definition, replace=True))

    def queue(self, command: str, **fields: Any) -> int:
        job_id = self.ask(requests.SubmitJob(Submit(command, **fields), "anna")).id
        assert isinstance(job_id, int)
        return job_id

    def job(self, job_id: int) -> dict[str, Any]:
        with self.store.snapshot() as tx:
            return dict(read_job(tx, job_id))

    def state(self, job_id: int) -> str:
        return str(self.job(job_id)["state"])

    def why(self, job_id: int) -> tuple[str, str]:
        with self.store.snapshot() as tx:
            found = explain_job(tx, self.turns._core.state, job_id, master_now())
        return found["code"], found["sentence"]

    def assert_sound(self) -> None:
        self.ask(requests.HoldJobs([]))  # the turns before are done
        assert self.failures == []
        with self.store.snapshot() as tx:
            assert check(tx) == []


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[], Queue]]:
    """Return a function that starts the master, stopping the one before."""
    running: list[Queue] = []

    def start() -> Queue:
        for each in running:
            each.close()
        running[:] = [Queue(tmp_path)]
        return running[0]

    yield start
    for each in running:
        each.close()


def damage(path: Path, statement: str) -> None:
    store = sqlite3.connect(path / "store.db")
    with store:
        assert store.execute(statement).rowcount > 0
    store.close()


def tracebacks(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the messages that were logged with a traceback."""
    return [each.message for each in caplog.records if each.exc_info]


def ended(job_id: int, n: int = 1) -> m.Ended:
    now_ms = master_now().wall_ms
    return m.Ended(job_id, n, {"kind": "exited", "code": 0}, now_ms, now_ms, {"wall_s": 1.0})


def test_a_class_whose_definition_cannot_be_read_is_set_aside_and_others_run(
    start: Callable[[], Queue], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    queue = start()
    queue.define("good", "bad")
    bad = queue.queue("bad")
    queue.close()
    damage(tmp_path, "UPDATE command_revision SET definition = '{' WHERE definition LIKE '%bad%'")
    queue = start()
    queue.attach()
    good = queue.queue("good")
    assert queue.state(good) == "leased"
    code, sentence = queue.why(bad)
    assert code == "set_aside"
    assert "JSONDecodeError" in sentence
    assert "mythjobs command enable bad" in sentence
    queue.queue("good")
    assert [each for each in tracebacks(caplog) if "bad" in each] == [
        "set aside class 1 of bad: unreadable"
    ]
    queue.assert_sound()


def test_a_class_that_fails_in_placement_is_set_aside_until_its_command_is_enabled(
    start: Callable[[], Queue], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail_for_bad(requirements: Any, *args: Any) -> Any:
        if requirements.command == "bad":
            raise ZeroDivisionError("no luck")
        return compute_fit(requirements, *args)

    queue = start()
    queue.define("good", "bad")
    queue.attach()
    monkeypatch.setattr(fit_cache, "compute_fit", fail_for_bad)
    bad = queue.queue("bad")
    goods = [queue.queue("good") for _ in range(3)]
    assert [queue.state(each) for each in goods] == ["leased"] * 3
    assert queue.state(bad) == "queued"
    [logged] = tracebacks(caplog)
    assert logged.startswith("set aside class")

    code, sentence = queue.why(bad)
    assert code == "set_aside"
    assert "ZeroDivisionError: no luck" in sentence
    with queue.store.snapshot() as tx:
        [aside] = list_set_aside(tx, queue.turns._core.state)
    assert (aside["kind"], aside["command"]) == ("class", "bad")
    monkeypatch.setattr(fit_cache, "compute_fit", compute_fit)
    queue.ask(requests.EnableCommand("bad", True))
    assert queue.state(bad) == "leased"
    queue.assert_sound()


def test_a_job_whose_grant_cannot_be_made_is_held_and_its_class_runs(
    start: Callable[[], Queue], tmp_path: Path
) -> None:
    queue = start()
    queue.define("good")
    bad, good = queue.queue("good"), queue.queue("good")
    queue.close()
    damage(tmp_path, f"UPDATE job SET arguments = 'no JSON' WHERE job_id = {bad}")
    queue = start()
    queue.attach()
    assert queue.state(good) == "leased"
    with queue.store.snapshot() as tx:
        tx.cursor.execute(f"SELECT hold, reason FROM job WHERE job_id = {bad}")
        hold, reason = tx.cursor.fetchone()
    assert hold == 1
    assert "the master failed to start it (DecodeError" in reason
    queue.assert_sound()


def test_a_deadline_that_cannot_be_kept_does_not_stop_the_others(
    start: Callable[[], Queue], tmp_path: Path
) -> None:
    queue = start()
    queue.define("good")
    soon_ms = master_now().wall_ms + 300
    bad = queue.queue("good", deadline_ms=soon_ms - 1)
    queue.queue("good", after=[Dependency(bad)])
    others = [queue.queue("good", deadline_ms=soon_ms) for _ in range(2)]
    queue.close()
    # Cancelling the job would resolve this dependency.
    damage(tmp_path, "UPDATE dependency SET accept = 'unknown'")
    queue = start()
    queue.turns.put_message(requests.LeaseTick(0))
    wait_until(lambda: [queue.state(each) for each in others] == ["cancelled"] * 2)
    assert queue.state(bad) == "queued"
    queue.attach()
    assert queue.state(queue.queue("good")) == "leased"
    queue.ask(requests.HoldJobs([]))
    assert queue.failures == []


def wait_until(is_true: Callable[[], bool]) -> None:
    until_ms = master_now().steady_ms + 30_000
    while not is_true():
        assert master_now().steady_ms < until_ms


def test_upkeep_that_fails_does_not_stop_other_upkeep(
    start: Callable[[], Queue], tmp_path: Path
) -> None:
    queue = start()
    queue.define("good")
    queue.close()
    insert = "INSERT INTO upkeep VALUES (1, 'open', 1, 'not a number')"
    damage(tmp_path, insert)
    queue = start()
    queue.attach()
    [revision] = read_revisions(tmp_path, "good")
    rows = [requests.BatchRow("{}", None) for _ in range(3)]
    batch = requests.BatchSlice(None, "good", revision, "anna", 0, rows, 0, False, "", True)
    ids = queue.ask(batch)
    wait_until(lambda: queue.state(ids.first_job_id + 2) == "leased")
    queue.ask(requests.HoldJobs([]))
    assert queue.failures == []


def read_revisions(path: Path, name: str) -> list[int]:
    store = sqlite3.connect(path / "store.db")
    query = "SELECT revision_id FROM command WHERE name = ?"
    found = [row[0] for row in store.execute(query, [name])]
    store.close()
    return found


@pytest.mark.parametrize(
    "change", ["settings = '{\"jobs\": true}'", "description = '{'", "rights = '[]'"]
)
def test_a_machine_whose_settings_cannot_be_read_runs_nothing_and_the_master_starts(
    start: Callable[[], Queue], tmp_path: Path, caplog: pytest.LogCaptureFixture, change: str
) -> None:
    queue = start()
    queue.define("good")
    queue.attach()
    queue.close()
    damage(tmp_path, f"UPDATE machine SET {change}")
    queue = start()
    queue.attach()
    job = queue.queue("good")
    assert queue.why(job)[0] == "not_allowed"
    assert [each for each in caplog.messages if "attic runs nothing" in each]
    queue.ask(requests.EditMachine("attic", {"allow": "all"}))
    assert queue.state(job) == "leased"
    queue.assert_sound()


def test_a_channel_whose_settings_cannot_be_read_is_logged_and_the_master_starts(
    start: Callable[[], Queue], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    queue = start()
    queue.define("good")
    queue.close()
    damage(
        tmp_path,
        "INSERT INTO channel (name, url, shown, kinds, commands, template, created_ms, failures,"
        " error) VALUES ('phone', '', '', '{', '[]', '', 0, 0, '')",
    )
    queue = start()
    queue.attach()
    assert queue.state(queue.queue("good")) == "leased"
    assert [each for each in tracebacks(caplog) if "phone" in each]
    queue.assert_sound()


def test_a_message_that_fails_holds_its_job_and_the_others_of_its_frame_are_handled(
    start: Callable[[], Queue], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    queue = start()
    queue.define("good")
    queue.attach()
    first, bad, last = [queue.queue("good") for _ in range(3)]
    queue.queue("good", after=[Dependency(bad)])
    damage(tmp_path, "UPDATE dependency SET accept = 'unknown'")
    queue.send(ended(first), ended(bad), ended(last))
    assert [queue.state(each) for each in (first, bad, last)] == [
        "succeeded", "queued", "succeeded"
    ]  # fmt: skip
    job = queue.job(bad)
    assert job["hold"]
    assert "the master failed to process its end (KeyError" in job["reason"]["sentence"]
    assert "exit code 0" in job["reason"]["sentence"]
    assert "cannot handle a Ended message" in tracebacks(caplog)
    # The connection is open, and the machine gets more jobs.
    assert queue.state(queue.queue("good")) == "leased"
    queue.assert_sound()


def test_a_run_time_that_no_job_can_have_is_stored(
    start: Callable[[], Queue], caplog: pytest.LogCaptureFixture
) -> None:
    """Seen: the store has microseconds, and 2^53 s are too many of them: the job was held."""
    queue = start()
    queue.define("good")
    queue.attach()
    for usage in ({"wall_s": 1e308}, {"frozen_s": 1e308}):
        job = queue.queue("good")
        queue.send(msgspec.structs.replace(ended(job), usage=usage))
        assert queue.state(job) == "succeeded"
    assert tracebacks(caplog) == []
    queue.assert_sound()
    with queue.store.snapshot() as tx:
        [(runs, usual_us)] = read_footprints(tx).values()
    assert runs == 2
    assert 0 <= usual_us <= 2**32 * 10**6


def test_a_failing_unit_is_logged_once_and_turns_go_on_together(
    start: Callable[[], Queue], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    queue = start()
    queue.define("good")
    queue.attach()

    def fail(*_: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr(fit_cache.FitCache, "refresh", fail)
    jobs = [queue.queue("good") for _ in range(5)]
    assert tracebacks(caplog).count("placement failed; retrying every second") == 1
    monkeypatch.undo()
    queue.ask(requests.HoldJobs([]))
    assert [queue.state(each) for each in jobs] == ["leased"] * 5
    queue.assert_sound()
