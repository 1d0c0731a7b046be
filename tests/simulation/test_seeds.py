"""Seeds of the simulation, those that ever broke a promise, and mutants that it must catch."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Final

import pytest

from tests.simulation.__main__ import run, some, storeroom
from tests.simulation.mutants import MUTANTS
from tests.simulation.plan import read
from tests.simulation.scenarios import SCENARIOS

KEPT: Final = Path(__file__).parent / "seeds"
SEEDS: Final = int(os.environ.get("SIMULATION_SEEDS", "200"))
_TOGETHER: Final = 100


@pytest.fixture(scope="module", autouse=True)
def _room() -> Iterator[None]:
    yield
    storeroom().close()
    storeroom.cache_clear()


@pytest.fixture(scope="module")
def pool() -> Iterator[ProcessPoolExecutor]:
    # As `make simulate` has it: sets of words in the same order in every process.
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONHASHSEED", "0")
        with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
            yield pool


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("first", range(1, SEEDS + 1, _TOGETHER))
def test_no_seed_breaks_a_promise(first: int, pool: ProcessPoolExecutor) -> None:
    half = _TOGETHER // 2
    ranges = range(first, first + half), range(first + half, first + _TOGETHER)
    futures = [pool.submit(some, each) for each in ranges]
    reports = [report for future in futures for report in future.result()[0]]
    broken = {each.seed: each.violations for each in reports if each.violations}
    assert not broken, "replay one with `make simulate REPLAY=…`"
    # That nothing broke says something only where something ran.
    assert sum(each.counts.get("starts", 0) for each in reports) > 5 * _TOGETHER
    # What a connection lost is said again on the next one, and what an old one had comes late.
    for what in ("ends said again", "grants offered again", "late on an old connection"):
        assert any(what in each.counts for each in reports), what


@pytest.mark.parametrize("path", sorted(KEPT.glob("*.json")), ids=lambda path: path.stem)
def test_what_once_broke_a_promise_does_so_no_more(path: Path) -> None:
    plan = read(path)
    assert run(plan).violations == []
    # Those that a search with a mutant found are named after it, and still find it.
    mutant = path.name.partition(".")[0]
    if mutant in MUTANTS:
        assert run(plan, mutant).violations


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_scenario_holds_with_the_true_rules_and_catches_its_mutant(name: str) -> None:
    plan, promises = SCENARIOS[name]
    assert run(plan).violations == []
    broken = run(plan, name).violations
    assert broken
    assert broken[0].partition(":")[0] in promises
