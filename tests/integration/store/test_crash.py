"""What was acknowledged is there after a kill at any moment."""

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

# Submits, runs and ends jobs for ever, and says each turn once it is durable.
PROGRAM = """
import sys
from mythjobs.model.life import JobEvent
from mythjobs.store.open import open_store
from mythjobs.store.writes import job_state, readiness
from tests.support import queue as q
store = open_store(sys.argv[1], unsafe=True)
with store.transaction() as tx:
    q.machines_join(tx)
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
def test_every_acknowledged_turn_is_there_and_none_is_half_there(where: str) -> None:
    heard = 0
    for turns in (1, 3, 20):
        child = subprocess.Popen(
            [sys.executable, "-c", PROGRAM.replace("q.machines_join(tx)", _joins(heard)), where],
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        assert child.stdout is not None
        with child.stdout:
            for _ in range(turns):
                heard = int(child.stdout.readline())
            # In the middle of whatever it does now.
            child.send_signal(signal.SIGKILL)
            for line in child.stdout:
                heard = int(line)
        child.wait()
        store = open_store(where, unsafe=True)
        with store.transaction() as tx:
            assert check(tx) == []
            assert [str(q.state_of(tx, heard - 1)), str(q.state_of(tx, heard))] == [
                "succeeded",
                "cancelled",
            ]
        store.close()


def _joins(heard: int) -> str:
    return "pass" if heard else "q.machines_join(tx)"
