"""Simulated clusters: seeds, kept plans that once showed a violation, and mutants."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Final

import pytest

from tests.simulation.__main__ import run_plan, run_seeds, store_factory
from tests.simulation.change_scenarios import CHANGE_SCENARIOS
from tests.simulation.machine_scenarios import MACHINE_SCENARIOS
from tests.simulation.mutants import MUTANTS
from tests.simulation.placement_scenarios import (
    PLACEMENT_SCENARIOS,
    make_command,
    make_plan,
    make_submit,
)
from tests.simulation.plan import MASTER, Fault, read_plan
from tests.simulation.scale import generate_scale_plan
from tests.simulation.scenarios import SCENARIOS

ALL_SCENARIOS: Final = {
    **SCENARIOS,
    **PLACEMENT_SCENARIOS,
    **CHANGE_SCENARIOS,
    **MACHINE_SCENARIOS,
}
KEPT_PLANS: Final = Path(__file__).parent / "seeds"
SEEDS: Final = int(os.environ.get("SIMULATION_SEEDS", "200"))
_SEEDS_PER_TEST: Final = 100


@pytest.fixture(scope="module", autouse=True)
def _stores() -> Iterator[None]:
    yield
    store_factory().close()
    store_factory.cache_clear()


@pytest.fixture(scope="module")
def pool() -> Iterator[ProcessPoolExecutor]:
    # As in `make simulate`: sets of strings iterate in the same order in every process.
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONHASHSEED", "0")
        with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
            yield pool


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("first", range(1, SEEDS + 1, _SEEDS_PER_TEST))
def test_no_seed_shows_a_violation(first: int, pool: ProcessPoolExecutor) -> None:
    half = _SEEDS_PER_TEST // 2
    ranges = range(first, first + half), range(first + half, first + _SEEDS_PER_TEST)
    futures = [pool.submit(run_seeds, each) for each in ranges]
    reports = [report for future in futures for report in future.result()[0]]
    violations = {each.seed: each.violations for each in reports if each.violations}
    assert not violations, "replay one with `make simulate REPLAY=…`"
    # The result is meaningful only if enough attempts ran.
    assert sum(each.counts.get("starts", 0) for each in reports) > 5 * _SEEDS_PER_TEST
    # Messages lost with a connection are sent again; frames of an old connection arrive late.
    for event in ("ends reported again", "grants sent again", "late on an old connection"):
        assert any(event in each.counts for each in reports), event


@pytest.mark.parametrize("path", sorted(KEPT_PLANS.glob("*.json")), ids=lambda path: path.stem)
def test_a_kept_plan_shows_no_violation_except_with_its_mutant(path: Path) -> None:
    plan = read_plan(path)
    assert run_plan(plan).violations == []
    # A plan found with a mutant is named after it, and must still detect it.
    mutant = path.name.partition(".")[0]
    if mutant in MUTANTS:
        assert run_plan(plan, mutant).violations


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_hundreds_of_jobs_on_twenty_machines_show_no_violation() -> None:
    report = run_plan(generate_scale_plan(1))
    assert report.violations == []
    assert report.counts["starts"] > 500


def test_a_master_ends_when_its_disk_fails_and_nothing_committed_is_lost() -> None:
    plan = make_plan(
        [make_command("work")],
        *(make_submit(20 + 3 * number, "work", seconds=5) for number in range(40)),
        faults=(
            Fault(49_900, "fsync", MASTER, 8000),
            Fault(70_000, "reboot", MASTER, 5000, 1),
            Fault(100_000, "reboot", MASTER, 5000, 0),
        ),
    )
    report = run_plan(plan)
    assert report.violations == []
    assert report.counts["masters whose store failed"] == 1
    assert report.counts["stores that lost power"] == 2
    assert report.counts["succeeded"] == 40


def test_each_mutant_has_a_scenario() -> None:
    assert ALL_SCENARIOS.keys() == MUTANTS.keys()


@pytest.mark.parametrize("name", ALL_SCENARIOS)
def test_a_scenario_shows_a_violation_only_with_its_mutant(name: str) -> None:
    plan, properties = ALL_SCENARIOS[name]
    assert run_plan(plan).violations == []
    violations = run_plan(plan, name).violations
    assert violations
    assert violations[0].partition(":")[0] in properties
