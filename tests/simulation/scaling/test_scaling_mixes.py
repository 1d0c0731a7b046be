"""The scaling controller on mixes of jobs, beside the best fixed number, found by search."""

from __future__ import annotations

from math import inf, prod
from typing import Final, NamedTuple

import pytest

from mythjobs.agent.scaling.controller import ScalingController
from mythjobs.agent.scaling.footprint import Footprint
from tests.simulation.scaling.mixes import CORES, MEMORY_BYTES, MIXES, Mix
from tests.simulation.scaling.runner import RunResult, run_controlled, run_fixed

_COUNTS: Final = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 24, 32, 64, 128)
_SEED: Final = 1
_OTHER_DAY: Final = 101
_MAX_FREEZES: Final = 4
_MAX_LATE: Final = 0.01


class Comparison(NamedTuple):
    """Makespans relative to the best fixed number: of a machine without history, and of one that
    has run other jobs of the same commands."""

    cold: float
    warm: float
    results: tuple[RunResult, RunResult]


def find_best_fixed_s(mix: Mix, seed: int) -> float:
    """Return the makespan of the best fixed number of jobs with which the kernel kills none."""
    best_s = inf
    for count in _COUNTS:
        result = run_fixed(mix.build_machine(), mix.build_jobs(seed), count, min(best_s, 1e5))
        if result.kills:
            break
        best_s = min(best_s, result.makespan_s)
    return best_s


def learn_from_another_day(mix: Mix) -> ScalingController:
    """Return a new controller with everything that one has kept from other jobs of the mix."""
    earlier = ScalingController(CORES, MEMORY_BYTES)
    run_controlled(mix.build_machine(), mix.build_jobs(_OTHER_DAY), earlier)
    controller = ScalingController(CORES, MEMORY_BYTES)
    controller.load_json(earlier.to_json())
    for command, footprint in earlier.footprints.items():
        controller.footprints[command] = Footprint.from_json(footprint.to_json())
    return controller


@pytest.fixture(scope="module")
def compared() -> dict[str, Comparison]:
    found = {}
    for name, mix in MIXES.items():
        best_s = find_best_fixed_s(mix, _SEED)
        cold = run_controlled(
            mix.build_machine(), mix.build_jobs(_SEED), ScalingController(CORES, MEMORY_BYTES)
        )
        warm = run_controlled(
            mix.build_machine(), mix.build_jobs(_SEED), learn_from_another_day(mix)
        )
        ratios = cold.makespan_s / best_s, warm.makespan_s / best_s
        found[name] = Comparison(*ratios, (cold, warm))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", MIXES)
def test_a_mix_takes_hardly_longer_than_with_the_best_fixed_number(
    compared: dict[str, Comparison], name: str
) -> None:
    found = compared[name]
    assert found.warm <= 1.05
    assert found.cold <= 1.15
    for result in found.results:
        assert result.kills == 0
        assert result.freezes <= _MAX_FREEZES
        assert result.late < _MAX_LATE
        assert result.least_active >= 1


@pytest.mark.slow
def test_all_mixes_together_take_less_time_than_with_the_best_fixed_numbers(
    compared: dict[str, Comparison],
) -> None:
    count = len(MIXES)
    assert count >= 8
    assert prod(each.warm for each in compared.values()) ** (1 / count) <= 1.00
    assert prod(each.cold for each in compared.values()) ** (1 / count) <= 1.05


@pytest.mark.slow
def test_a_fixed_number_that_suits_one_mix_is_bad_for_another() -> None:
    """The oracle is not trivial: no number is good for copies, processor and memory alike."""
    copies, encoders = MIXES["copies on a hard disk"], MIXES["transcode"]
    hogs = MIXES["much memory"]
    one = run_fixed(copies.build_machine(), copies.build_jobs(_SEED), 1).makespan_s
    four = run_fixed(copies.build_machine(), copies.build_jobs(_SEED), 4).makespan_s
    assert four > 1.5 * one
    one = run_fixed(encoders.build_machine(), encoders.build_jobs(_SEED), 1).makespan_s
    four = run_fixed(encoders.build_machine(), encoders.build_jobs(_SEED), 4).makespan_s
    assert one > 3 * four
    assert run_fixed(hogs.build_machine(), hogs.build_jobs(_SEED), 8, 500).kills > 0
