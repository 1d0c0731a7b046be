"""Rules of the placement checker: what each reports, and what it must not report."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import pytest

from tests.simulation.__main__ import run_plan, store_factory
from tests.simulation.placement_scenarios import OPEN, make_command, make_plan, make_submit
from tests.simulation.plan import Plan, Step

_GPU: Final = OPEN | {"jobs": 1, "labels": ["gpu"]}


@pytest.fixture(scope="module", autouse=True)
def _stores() -> Iterator[None]:
    yield
    store_factory().close()
    store_factory.cache_clear()


def wait_for_the_gpu(*others: Step) -> Plan:
    """bert waits for the only machine with a GPU, while anna has it, and there are two others."""
    return make_plan(
        [make_command("render", labels=["gpu"]), make_command("work")],
        make_submit(20, "render", seconds=60),
        *others,
        make_submit(25, "render", submitter="bert"),
        settings=(_GPU, OPEN, OPEN),
    )


def test_leases_on_machines_where_a_submitter_cannot_run_do_not_pass_it_over() -> None:
    # Seen at seed 500572: "film b waits while others get 24 leases", all of them elsewhere.
    plan = wait_for_the_gpu(*(make_submit(26, "work", seconds=5) for _ in range(60)))
    report = run_plan(plan)
    assert report.violations == []
    assert report.counts["succeeded"] == 62


def test_leases_on_the_only_machine_of_a_submitter_pass_it_over() -> None:
    plan = wait_for_the_gpu(*(make_submit(21, "render", seconds=5) for _ in range(40)))
    assert run_plan(plan).violations == []
    [violation] = run_plan(plan, "shares-not-charged").violations
    assert violation.startswith("SHARE: bert waits while others get 21 leases")
