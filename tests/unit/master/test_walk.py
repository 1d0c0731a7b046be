"""Placement and `what-if` use one walk: both give the same jobs to the same machines."""

from __future__ import annotations

from random import Random
from typing import Any, NamedTuple

import msgspec
import pytest

from mythjobs.master import requests
from mythjobs.master.explain.replay import SettingsChanges, build_scenario
from mythjobs.protocol.requests import Submit
from mythjobs.scheduler.replay import PastJob, ReplayedJob, replay
from mythjobs.store.queries import job_facts
from mythjobs.store.writes import commands
from tests.unit.master.harness import NOON, Harness


class SubmittedJob(NamedTuple):
    command: str
    submitted_ms: int
    priority: int
    deadline_ms: int | None


Jobs = dict[int, SubmittedJob]  # by id


def learn(master: Harness, run_times_s: dict[str, float]) -> None:
    """Make run times known without any run, so that no share is charged."""
    state = master.core.state
    with master.store.snapshot() as tx:
        for name, seconds in run_times_s.items():
            found = commands.find_by_name(tx, name)
            assert found is not None
            for machine_id in state.machines:
                state.run_times[found.command_id, machine_id] = (3, round(seconds * 1e6))


def submit(master: Harness, wanted: list[tuple[str, str, dict[str, Any]]]) -> Jobs:
    """Submit all jobs (command, submitter, fields) in one turn."""
    answers = master.turn(
        *[
            requests.SubmitJob(msgspec.convert({"command": name} | fields, Submit), by)
            for name, by, fields in wanted
        ]
    )
    return {
        answers[number].id: SubmittedJob(
            name, master.now.wall_ms, fields.get("priority", 0), fields.get("deadline_ms")
        )
        for number, (name, _, fields) in enumerate(wanted)
    }


def replay_of(master: Harness, jobs: Jobs, run_times_s: dict[str, float]) -> dict[int, ReplayedJob]:
    with master.store.snapshot() as tx:
        classes = job_facts.read_class_ids(tx, list(jobs))
        scenario = build_scenario(
            tx, master.core.state, set(classes.values()), SettingsChanges({}, {}, {})
        )
    past = [
        PastJob(
            job_id,
            each.submitted_ms,
            classes[job_id],
            each.priority,
            run_times_s[each.command],
            each.deadline_ms,
        )
        for job_id, each in jobs.items()
    ]
    return {each.job_id: each for each in replay(scenario, past)}


@pytest.mark.parametrize("seed", range(15))
def test_the_first_pass_gives_each_job_the_machine_of_the_replay(
    master: Harness, seed: int
) -> None:
    random = Random(seed)
    names = ["attic", "cellar", "den"][: random.randint(1, 3)]
    for name in names:
        master.join(name, random.randint(1, 4))
    master.request(requests.EditMachine("attic", {"allow": "all", "labels": ["gpu"]}))
    master.request(requests.SetSemaphore("nas", 3))
    master.define("plain")
    master.define("short")
    master.define("light", semaphores={"nas": 1})
    master.define("heavy", semaphores={"nas": random.randint(2, 4)})
    master.define("few", at_most=2)
    master.define("gpu", labels=["gpu"])
    master.define("nightly", windows={"open": ["22:00-06:00"]})
    master.define("daily", windows={"open": ["10:00-14:00 at most 1"], "closing": "requeue"})
    run_times_s = {
        "plain": 40.0, "short": random.choice([0.05, 30.0]), "light": 20.0, "heavy": 15.0,
        "few": 10.0, "gpu": 25.0, "nightly": 60.0, "daily": random.choice([600.0, 9000.0]),
    }  # fmt: skip
    learn(master, run_times_s)
    wanted = []
    for _ in range(40):
        fields: dict[str, Any] = {"priority": random.choice([0, 0, 0, 1])}
        if random.random() < 0.2:
            fields["deadline_ms"] = NOON + random.choice([3_600_000, 7_200_000])
        if random.random() < 0.2:
            fields["prefer"] = random.choice(names)
        wanted.append((random.choice(list(run_times_s)), random.choice(["anna", "ben"]), fields))
    jobs = submit(master, wanted)
    granted = {job_id: name for name in names for job_id in master.take_grants(name)}
    assert granted

    replayed = replay_of(master, jobs, run_times_s)
    assert {job_id: replayed[job_id].machine for job_id in granted} == granted
    # Only jobs that were granted start at once; those leased ahead start within moments.
    started = {each.job_id for each in replayed.values() if each.started_ms == NOON}
    assert started <= granted.keys()
    for job_id in granted.keys() - started:
        assert jobs[job_id].command == "short"


def test_all_starts_are_those_of_the_replay_with_reserved_semaphore_units(master: Harness) -> None:
    attic = master.join("attic", 4)
    master.request(requests.SetSemaphore("nas", 3))
    # Small jobs end one by one, so three units are never free by chance.
    run_times_s = {
        "small": 20.011,
        "medium": 23.303,
        "slow": 27.709,
        "big": 30.703,
        "plain": 13.129,
    }
    for name in ("small", "medium", "slow"):
        master.define(name, semaphores={"nas": 1})
    master.define("big", semaphores={"nas": 3})
    master.define("plain", at_most=1)
    learn(master, run_times_s)
    wanted: list[tuple[str, str, dict[str, Any]]] = [
        (name, "anna", {}) for _ in range(12) for name in ("small", "medium", "slow", "plain")
    ]
    jobs = submit(master, [*wanted, ("big", "ben", {}), ("big", "ben", {})])

    starts: dict[int, int] = {}
    ends: dict[int, int] = {}
    for _ in jobs:
        for job_id in master.take_grants():
            starts[job_id] = master.now.wall_ms
            ends[job_id] = master.now.wall_ms + round(1000 * run_times_s[jobs[job_id].command])
        if not ends:
            break
        at_ms = min(ends.values())
        master.advance((at_ms - master.now.wall_ms) / 1000)
        ended = [job_id for job_id, end_ms in ends.items() if end_ms == at_ms]
        for job_id in ended:
            del ends[job_id]
            master.finish(attic, job_id, seconds=run_times_s[jobs[job_id].command])

    replayed = replay_of(master, jobs, run_times_s)
    assert starts == {job_id: each.started_ms for job_id, each in replayed.items()}
    [first_big, _] = [job_id for job_id in jobs if jobs[job_id].command == "big"]
    assert NOON + 60_000 < starts[first_big] < NOON + 90_000


def test_the_replay_leases_short_jobs_ahead_as_placement_does(master: Harness) -> None:
    master.join("attic", 1)
    master.define("short")
    run_times_s = {"short": 0.01}
    learn(master, run_times_s)
    jobs = submit(master, [("short", "anna", {})] * 30)
    granted = master.take_grants()
    assert 1 < len(granted) < 30
    master.advance(0.005)
    jobs |= submit(master, [("short", "ben", {})])

    # The share of the late job's submitter is smaller. But it comes after the jobs that were
    # leased ahead, and after those that are older when it is leased itself.
    replayed = replay_of(master, jobs, run_times_s)
    starts = [replayed[job_id].started_ms for job_id in jobs]
    assert starts == [NOON + 10 * number for number in range(31)]
