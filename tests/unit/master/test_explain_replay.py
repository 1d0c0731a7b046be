"""`what-if` on a real store: past jobs under current and under changed settings."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import Any

import pytest

from mythjobs.errors import DefinitionError, NoSuchCommand, NoSuchMachine
from mythjobs.master.explain.replay import read_replay
from mythjobs.protocol import messages as m
from tests.unit.master.harness import NOON, Harness

HOUR_MS = 3_600_000


def try_settings(master: Harness, text: str) -> Mapping[str, Any]:
    with master.store.snapshot() as tx:
        found = read_replay(tx, master.core.state, tomllib.loads(text), master.now)
    return found.run()


def run_three_jobs(master: Harness, hours: float = 1.0) -> list[int]:
    """Run three jobs, submitted together at noon, one after the other."""
    attic = master.join("attic", 1)
    master.define()
    jobs = master.queue(3)
    for job_id in jobs:
        assert master.take_grants() == [job_id]
        key = next(iter(master.attempts["attic"]))
        master.send_frame(attic, m.Started(*key, master.now.wall_ms))
        master.advance(3600 * hours)
        master.finish(attic, job_id, seconds=3600 * hours)
    return jobs


def test_a_changed_window_changes_starts_and_ends(master: Harness) -> None:
    jobs = run_three_jobs(master)
    answer = try_settings(master, '[machines.attic.windows]\nopen = ["22:00-06:00"]\n')
    assert answer["jobs"] == 3
    [flag] = answer["commands"]
    assert flag["now"] == {
        "mean_wait_s": 3600.0, "last_end_ms": NOON + 3 * HOUR_MS, "never": 0, "cut": 0,
    }  # fmt: skip
    assert flag["then"]["last_end_ms"] == NOON + 13 * HOUR_MS
    assert [each["id"] for each in answer["changed"]] == jobs
    assert answer["changed"][0]["then"] == {
        "machine": "attic", "start_ms": NOON + 10 * HOUR_MS, "end_ms": NOON + 11 * HOUR_MS,
        "cut": False,
    }  # fmt: skip


def test_limits_slots_rights_and_semaphores_can_be_changed(master: Harness) -> None:
    run_three_jobs(master)
    [flag] = try_settings(master, "machines.attic.jobs = 3")["commands"]
    assert flag["then"]["last_end_ms"] == NOON + HOUR_MS
    [flag] = try_settings(master, '[commands.flag.limits]\nwall = "30m"\n')["commands"]
    assert (flag["then"]["cut"], flag["then"]["last_end_ms"]) == (3, NOON + 3 * HOUR_MS // 2)
    [flag] = try_settings(master, "machines.attic.allow = []")["commands"]
    assert flag["then"]["never"] == 3
    text = "semaphores.nas = 1\nmachines.attic.jobs = 3\ncommands.flag.semaphores.nas = 1\n"
    [flag] = try_settings(master, text)["commands"]
    assert flag["then"] == flag["now"]
    [flag] = try_settings(master, text.replace("nas = 1\nmach", "nas = 0\nmach"))["commands"]
    assert flag["then"]["never"] == 3


def test_nothing_changed_changes_nothing(master: Harness) -> None:
    run_three_jobs(master)
    assert try_settings(master, "")["changed"] == []


def test_an_invalid_file_is_refused(master: Harness) -> None:
    master.join()
    for text, error in (
        ("machine.attic.jobs = 1", DefinitionError),
        ("machines.attic = 1", DefinitionError),
        ("machines.attic.job = 1", DefinitionError),
        ("machines.cellar.jobs = 1", NoSuchMachine),
        ("commands.flog.at_most = 1", NoSuchCommand),
    ):
        with pytest.raises(error):
            try_settings(master, text)
