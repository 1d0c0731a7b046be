"""Fit cache: which changes of policy make fits be computed again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mythjobs.master import requests
from mythjobs.master.catalog import JobClass
from mythjobs.master.machine import Machine
from mythjobs.master.placement.fit_cache import FitCache
from mythjobs.protocol import messages as m
from mythjobs.scheduler.eligibility import MachineFit
from tests.unit.master.harness import NOON, Harness


@pytest.fixture
def two(master: Harness) -> Harness:
    """Machines attic and cellar, which may run the command `flag`, and one queued job of it."""
    for name in ("attic", "cellar"):
        master.join(name)
        master.request(requests.EditMachine(name, {"allow": "all", "jobs": 0}))
    master.define()
    master.submit()
    return master


def machine_of(master: Harness, name: str) -> Machine:
    return next(each for each in master.core.state.machines.values() if each.name == name)


def job_class_of(master: Harness) -> JobClass:
    with master.store.snapshot() as tx:
        return master.core.catalog.job_class(tx, 1)


def fit_on(cache: FitCache, master: Harness, name: str) -> MachineFit:
    return cache.fit(master.core.state, machine_of(master, name), job_class_of(master))


def edit(master: Harness, **settings: object) -> None:
    table: dict[str, object] = {"allow": "all", "jobs": 0}
    master.request(requests.EditMachine("attic", table | settings))


def rejoin(master: Harness, **changed: Any) -> None:
    master.disconnect(1)
    master.join("attic", **changed)


CHANGES: list[Callable[[Harness], object]] = [
    lambda master: edit(master, allow=[]),
    lambda master: edit(master, limits={"wall": "1h"}),
    lambda master: edit(master, zone="Europe/Berlin"),
    lambda master: master.request(requests.RenameMachine("attic", "loft")),
    lambda master: master.request(requests.OverrideHours("attic", "pause", NOON + 1000)),
    lambda master: rejoin(master, zone="Europe/Rome"),
    lambda master: rejoin(master, can=m.CAPABILITIES - {"freeze"}),
]


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_a_machine_makes_its_fits_be_computed_again(
    two: Harness, change: Callable[[Harness], object]
) -> None:
    cache = FitCache()
    before, _ = cache.refresh(two.core.state)
    attic, cellar = (fit_on(cache, two, name) for name in ("attic", "cellar"))
    assert cache.refresh(two.core.state) == (before, set())
    assert fit_on(cache, two, "attic") is attic
    [attic_id] = [each for each, found in two.core.state.machines.items() if found.name == "attic"]

    change(two)
    assert cache.refresh(two.core.state)[0] != before
    assert fit_on(cache, two, "cellar") is cellar
    machine = two.core.state.machines[attic_id]
    again = cache.fit(two.core.state, machine, job_class_of(two))
    assert again is not attic
    fresh = FitCache()
    fresh.refresh(two.core.state)
    assert again == fresh.fit(two.core.state, machine, job_class_of(two))


def test_fits_have_the_settings_of_machine_job_and_overrides(two: Harness) -> None:
    two.define("other", windows={"open": ["22:00-06:00"]})
    edit(two, limits={"wall": "1h"})
    two.request(requests.OverrideHours("attic", "allow", NOON + 1000, "flag"))
    cache = FitCache()
    cache.refresh(two.core.state)
    fit = fit_on(cache, two, "attic")
    assert (fit.permitted, fit.unconditional) == (True, False)
    assert fit.settings.bounds.wall_s == 3600
    assert fit.settings.hours is not None
    assert fit.settings.hours.overrides == (("allow", NOON + 1000),)
    assert fit_on(cache, two, "cellar").unconditional


@pytest.mark.parametrize(
    "change",
    [
        lambda master: master.disconnect(1),
        lambda master: master.request(requests.EnableCommand("flag", False)),
        lambda master: master.join("den"),
    ],
)
def test_the_snapshot_changes_with_available_machines_and_disabled_commands(
    two: Harness, change: Callable[[Harness], object]
) -> None:
    cache = FitCache()
    before, _ = cache.refresh(two.core.state)
    fit = fit_on(cache, two, "cellar")
    change(two)
    assert cache.refresh(two.core.state)[0] != before
    assert fit_on(cache, two, "cellar") is fit


def test_a_cleared_cache_computes_everything_again(two: Harness) -> None:
    cache = FitCache()
    cache.refresh(two.core.state)
    fit = fit_on(cache, two, "attic")
    cache.clear()
    assert cache.refresh(two.core.state)[1] == two.core.state.machines.keys()
    assert fit_on(cache, two, "attic") is not fit
