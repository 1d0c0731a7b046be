"""Kill of the writing process at any moment."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mythjobs.store.invariants.run import check
from mythjobs.store.open import open_store
from tests.support import queue as q

ROOT = Path(__file__).parents[3]

# Submits, runs and ends jobs until killed; prints a line after each commit.
PROGRAM = """
import sys
from mythjobs.model.life import JobEvent
from mythjobs.store.open import open_store
from mythjobs.store.writes import job_state, readiness
from tests.support import queue as q
store = open_store(sys.argv[1], unsafe=True)
with store.transaction() as tx:
    q.enrol_machines(tx)
while True:
    with store.transaction() as tx:
        first, second = q.queue_jobs(tx, 2, subject="news")
        q.run(tx, first)
        [leased] = q.lease(tx, second)
        q.start(tx, leased)
        q.end(tx, leased, JobEvent.REQUEUED)
        job_state.cancel_queued(tx, [second], code="cancelled", sentence="x", at_ms=1)
        readiness.refresh_subjects(tx, {"news"})
    store.checkpoint()
    print(second, flush=True)
"""


@pytest.mark.slow
def test_acknowledged_transactions_survive_a_kill_as_a_whole(where: str) -> None:
    seen = 0
    for turns in (1, 3, 20):
        child = subprocess.Popen(
            [
                sys.executable,
                "-c",
                PROGRAM.replace("q.enrol_machines(tx)", _enrol_once(seen)),
                where,
            ],
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        assert child.stdout is not None
        with child.stdout:
            for _ in range(turns):
                seen = int(child.stdout.readline())
            # The process is at an arbitrary point of its work.
            child.send_signal(signal.SIGKILL)
            for line in child.stdout:
                seen = int(line)
        child.wait()
        store = open_store(where, unsafe=True)
        with store.transaction() as tx:
            assert check(tx) == []
            assert [str(q.read_state(tx, seen - 1)), str(q.read_state(tx, seen))] == [
                "succeeded",
                "cancelled",
            ]
        store.close()


def _enrol_once(seen: int) -> str:
    return "pass" if seen else "q.enrol_machines(tx)"
