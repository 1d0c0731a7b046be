"""The whole queue through its API, against a small model (Hypothesis, stateful).

A master, two agents and their reapers run as real processes; a rule kills the master.
QUEUE_EXAMPLES=100 runs more sequences than the suite does.
"""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections import Counter
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from mythjobs.client import locate
from mythjobs.client.client import Client
from mythjobs.errors import NoSuchJob, Unreachable
from tests.acceptance.local_cluster import MACHINES, LocalCluster, run_cluster, wait_until
from tests.property.queue_model import FINAL, ModelJob, QueueModel

SETTLE_S: Final = 60.0
_POLL_S: Final = 0.02
# Two kills a sequence: each costs as much time as ten other steps.
_MAX_KILLS: Final = 2
# Longer than the learned durations with which a machine gets leases ahead of its slots.
_PROGRAM: Final = 'sleep 0.25; until [ -e "$1" ]; do sleep 0.02; done; exit "$(cat "$1")"'

DEFINITION: Final = {
    "argv": ["/bin/sh", "-c", _PROGRAM, "sh", "{file}"],
    "parameters": [{"name": "file", "type": "text"}],
}

COMMANDS: Final = st.sampled_from(["wait", "wait-too"])
PRIORITIES: Final = st.integers(0, 2)
SUBJECTS: Final = st.sampled_from([None, None, None, "film"])
PICKS: Final = st.integers(0, 1000)


class QueueMachine(RuleBasedStateMachine):
    """Each rule sends one request, checks its response, and waits until the queue is at rest.

    A rule that finds nothing to act on does nothing. A precondition would let the choice of rules
    depend on the queue, which may come to rest in several states, and Hypothesis refuses that.
    """

    numbers = itertools.count(1)

    def __init__(self, cluster: LocalCluster, files: Path) -> None:
        super().__init__()
        self.cluster = cluster
        self.files = files
        self.model = QueueModel(slots=len(MACHINES))
        self.kills = 0
        self._empty_queue()

    def _empty_queue(self) -> None:
        """Remove what the last sequence left, of which a failed one has no model."""
        if open_jobs := [key for key, each in self._list().items() if each["ended_ms"] is None]:
            self.cluster.post("jobs/cancel", {"ids": open_jobs})
        wait_until(
            lambda: all(each["ended_ms"] is not None for each in self._list().values()),
            "jobs of the last sequence have not ended",
        )
        self.cluster.post("jobs/prune", {"before_ms": _far_future_ms(), "states": []})

    # Submitting.

    @rule(command=COMMANDS, priority=PRIORITIES, subject=SUBJECTS, hold=st.booleans())
    def submit(self, command: str, priority: int, subject: str | None, hold: bool) -> None:
        job = self._submission(command, priority, subject, hold)
        answer = self.cluster.post("jobs", job)
        assert answer["new"]
        assert answer["state"] in ("queued", "leased")
        self._add(answer["id"], job)
        self._settle()

    @initialize()
    def fill_the_slots(self) -> None:
        self.submit_batch(command="wait", priority=1, hold=False, count=len(MACHINES) + 1)

    @rule(command=COMMANDS, priority=PRIORITIES, hold=st.booleans(), count=st.integers(1, 3))
    def submit_batch(self, command: str, priority: int, hold: bool, count: int) -> None:
        keys = [self._new_key() for _ in range(count)]
        lines = "".join(f'{{"file": "{self.files / key}"}}\n' for key in keys)
        query = {"command": command, "priority": priority, "hold": str(hold).lower()}
        answer = self._client().upload("batches", query, [lines.encode()])
        first, last = answer["ids"]
        assert (answer["jobs"], last - first + 1) == (count, count)
        for job_id, key in zip(range(first, last + 1), keys, strict=True):
            self.model.add(ModelJob(job_id, key, priority, hold=hold, batch=answer["batch"]))
        self._settle()
        batch = self.cluster.get(f"batches/{answer['batch']}")
        assert (batch["first"], batch["last"], batch["jobs"]) == (first, last, count)
        assert sum(batch["counts"].values()) == count

    @rule(pick=PICKS)
    def rerun(self, pick: int) -> None:
        if not self.model.jobs:
            return
        old = self._pick(pick)
        result = self._act("rerun", old)
        if not old.has_ended:
            assert "has not ended" in result["error"]
            return
        new = ModelJob(int(result["done"]), old.key, old.priority, old.subject, rerun_of=old.id)
        self.model.add(new)
        self._settle()

    # Acting on one job.

    @rule(pick=PICKS)
    def cancel(self, pick: int) -> None:
        if not self.model.jobs:
            return
        job = self._pick(pick)
        result = self._act("cancel", job)
        if job.has_ended:
            assert "already ended" in result["error"]
        elif job.state == "queued":
            assert (result["done"], result["state"]) == ("cancelled", "cancelled")
            job.state = "cancelled"
        else:
            assert result["done"] == ("already stopping" if job.cancelled else "stopping")
            job.cancelled = True
        self._settle()

    @rule(pick=PICKS)
    def hold(self, pick: int) -> None:
        if not self.model.jobs:
            return
        job = self._pick(pick)
        result = self._act("hold", job)
        done = "already held" if job.hold else "held"
        assert result["done"] == (done if job.state == "queued" else "")
        if job.state == "queued":
            job.hold = True
        self._settle()

    @rule(pick=PICKS)
    def release(self, pick: int) -> None:
        if not self.model.jobs:
            return
        job = self._pick(pick)
        result = self._act("release", job)
        is_held = job.state == "queued" and job.hold
        done = "released" if is_held else "is not held"
        assert result["done"] == ("" if job.has_ended else done)
        if is_held:
            job.hold = False
        self._settle()

    @rule(pick=PICKS, pause=st.booleans())
    def pause_or_resume(self, pick: int, pause: bool) -> None:
        if not self.model.jobs:
            return
        job = self._pick(pick)
        result = self._act("pause" if pause else "resume", job)
        if job.state != "running":
            assert "not running" in result["error"]
            return
        if pause:
            done = "is paused already" if job.paused else "pausing"
        else:
            done = "resuming" if job.paused else "is not paused by a user"
        assert (result["done"], result["error"]) == (done, "")
        job.paused = pause
        self._settle()

    @rule(pick=PICKS, code=st.sampled_from([0, 0, 7]))
    def end_program(self, pick: int, code: int) -> None:
        jobs = self.model.unfinished_programs()
        if not jobs:
            return
        key = jobs[pick % len(jobs)].key
        part = self.files / f"{key}.part"
        part.write_text(str(code))
        part.rename(self.files / key)
        self.model.exit_codes[key] = code
        self._settle()

    # Acting on the whole.

    @rule(states=st.sets(st.sampled_from(FINAL)))
    def prune(self, states: set[str]) -> None:
        if not any(each.has_ended for each in self.model.jobs.values()):
            return
        gone = self.model.prunable(tuple(states) or FINAL)
        body = {"before_ms": _far_future_ms(), "states": sorted(states)}
        answer = self.cluster.post("jobs/prune", body)
        assert answer == {"jobs": len(gone)}
        for job_id in gone:
            del self.model.jobs[job_id]
            with pytest.raises(NoSuchJob):
                self.cluster.get(f"jobs/{job_id}")
        self._settle()
        assert self.cluster.get("check")["violations"] == []
        states_left = Counter(each.state for each in self.model.jobs.values())
        counts = self.cluster.get("jobs/count")["counts"]
        assert {key: value for key, value in counts.items() if value} == states_left

    @precondition(lambda self: self.kills < _MAX_KILLS)
    @rule(priority=PRIORITIES, delay_ms=st.integers(0, 5))
    def kill_master_during_submit(self, priority: int, delay_ms: int) -> None:
        """A job that is submitted again with its key after the kill exists once."""
        self.kills += 1
        job = self._submission("wait", priority, None, False) | {"key": self._new_key()}
        client, answers = self._client(), list[dict[str, Any]]()

        def post() -> None:
            with suppress(Unreachable):
                answers.append(client.post("jobs", job))

        posting = threading.Thread(target=post)
        posting.start()
        time.sleep(delay_ms / 1000)
        self.cluster.kill_master()
        posting.join()
        self.cluster.start_master()
        again = self.cluster.post("jobs", job)
        if answers:
            assert (again["new"], again["id"]) == (False, answers[0]["id"])
        self._add(again["id"], job)
        wait_until(self._are_machines_up, "the machines are still not up")
        self._settle()

    # Helpers.

    def _new_key(self) -> str:
        return f"k{next(self.numbers)}"

    def _submission(
        self, command: str, priority: int, subject: str | None, hold: bool
    ) -> dict[str, Any]:
        arguments = {"file": str(self.files / self._new_key())}
        return {
            "command": command,
            "arguments": arguments,
            "priority": priority,
            "subject": subject,
            "hold": hold,
        }

    def _add(self, job_id: int, job: dict[str, Any]) -> None:
        key = Path(job["arguments"]["file"]).name
        self.model.add(ModelJob(job_id, key, job["priority"], job["subject"], job["hold"]))

    def _pick(self, pick: int) -> ModelJob:
        return list(self.model.jobs.values())[pick % len(self.model.jobs)]

    def _act(self, action: str, job: ModelJob) -> dict[str, Any]:
        [result] = self.cluster.post(f"jobs/{action}", {"ids": [job.id]})["jobs"]
        assert result["id"] == job.id
        return dict(result)

    def _are_machines_up(self) -> bool:
        return all(each["state"] == "up" for each in self.cluster.get("machines")["machines"])

    def _settle(self) -> None:
        """Wait until the queue is in a state in which the model allows it to rest."""
        deadline = time.monotonic() + SETTLE_S
        while found := self.model.find_differences(self._list()):
            assert time.monotonic() < deadline, found
            time.sleep(_POLL_S)

    def _list(self) -> dict[int, dict[str, Any]]:
        return {each["id"]: each for each in self.cluster.get("jobs", limit=1000)["jobs"]}

    def _client(self) -> Client:
        return Client(locate.find_socket(str(self.cluster.state.root)))


def _far_future_ms() -> int:
    return time.time_ns() // 1_000_000 + 3_600_000


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_any_sequence_of_requests_and_kills_agrees_with_the_model(tmp_path: Path) -> None:
    files = tmp_path / "files"
    files.mkdir()
    with run_cluster(tmp_path, jobs=1) as cluster:
        for name in ("wait", "wait-too"):
            cluster.post("commands", {"definition": DEFINITION | {"name": name}})
        run_state_machine_as_test(
            partial(QueueMachine, cluster, files),  # type: ignore[arg-type]
            settings=settings(
                max_examples=int(os.environ.get("QUEUE_EXAMPLES", "4")),
                stateful_step_count=40,
                deadline=None,
                derandomize="QUEUE_EXAMPLES" not in os.environ,
                database=None,
                # No shrinking: each attempt at a smaller sequence takes seconds.
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            ),
        )
