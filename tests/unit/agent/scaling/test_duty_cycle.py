"""The only heavy stream of a disk runs every other second while it disturbs other programs."""

from __future__ import annotations

import pytest

from mythjobs.agent.scaling.footprint import Footprint
from mythjobs.agent.scaling.freezing import FreezeChange
from tests.unit.agent.scaling.machine import FIRST, GIB, SECOND, Machine, known


@pytest.fixture
def machine() -> Machine:
    """A machine on which one copy runs, and another program reads 20 MiB/s."""
    found = Machine()
    copy = Footprint(3, cpu=0.1, peak_bytes=GIB, wall_s=600, disks={"sda": 0.9})
    known(found.controller, copy=copy)
    found.start(FIRST, "copy")
    return found


def run(machine: Machine, seconds: int, on: float, off: float = 0.0) -> list[FreezeChange]:
    """Run the copy and the other program. on, off: how long that waits for the disk in a second
    in which the copy runs, and in which it is frozen."""
    changes = []
    for _ in range(seconds):
        is_frozen = FIRST in machine.frozen
        if not is_frozen:
            machine.use(FIRST, mib=70)
        share = off if is_frozen else on
        needs = machine.controller.needs_foreign_stall
        changes += machine.step(foreign_mib=20, foreign_stalled=share if needs else None)
    return changes


def test_a_copy_beside_a_program_that_waits_runs_every_other_second(machine: Machine) -> None:
    # The first second measures the foreign load; the next five show that it waits.
    assert run(machine, 6, on=0.5) == []
    [first] = run(machine, 1, on=0.5)
    assert (first.key, first.on) == (FIRST, True)
    assert first.reason == "other programs wait for disk sda; it runs every other second from now"
    changes = run(machine, 20, on=0.5)
    assert [each.on for each in changes] == [False, True] * 10
    # Only the beginning is told.
    assert {each.reason for each in changes} == {""}


def test_a_copy_that_disturbs_nobody_runs_all_the_time(machine: Machine) -> None:
    assert run(machine, 60, on=0.05) == []


def test_without_pressure_files_nothing_is_assumed(machine: Machine) -> None:
    for _ in range(60):
        machine.use(FIRST, mib=70)
        assert machine.step(foreign_mib=20) == []


def test_the_cycle_ends_when_the_others_do_not_wait_any_more(machine: Machine) -> None:
    run(machine, 7, on=0.5)
    changes = run(machine, 20, on=0.0)
    assert changes[-1] == FreezeChange(
        FIRST, False, "other programs do not wait for disks any more"
    )
    assert FIRST not in machine.frozen
    # It begins anew if they wait again.
    assert any(each.on for each in run(machine, 10, on=0.5))


def test_a_program_that_waits_without_the_copy_too_does_not_slow_it_down(machine: Machine) -> None:
    changes = run(machine, 40, on=0.9, off=0.9)
    assert changes[-1].reason == "other programs wait for disks without it, too"
    assert sum(each.on for each in changes) == 5
    # The next trial is a minute later, the one after it two.
    assert [sum(each.on for each in run(machine, 60, on=0.9, off=0.9)) for _ in range(4)] == [
        5, 0, 5, 0
    ]  # fmt: skip


def test_the_cycle_ends_with_the_job_and_with_the_foreign_load(machine: Machine) -> None:
    run(machine, 7, on=0.5)
    assert FIRST in machine.frozen
    machine.end(FIRST, 7.0)
    assert not machine.step(foreign_mib=20)
    machine.start(SECOND, "copy")
    for _ in range(150):
        machine.use(SECOND, mib=70)
        assert machine.step() == []
    assert not machine.controller.needs_foreign_stall


def test_a_user_who_pauses_the_copy_ends_the_cycle(machine: Machine) -> None:
    run(machine, 8, on=0.5)
    machine.controller.set_frozen(FIRST, by_controller=False, by_others=True)
    assert machine.step(foreign_mib=20) == []
    assert machine.step(foreign_mib=20) == []


def test_short_jobs_that_end_do_not_shorten_the_frozen_second(machine: Machine) -> None:
    known(machine.controller, blink=Footprint(9, cpu=0.1, wall_s=0.01))
    run(machine, 7, on=0.5)
    assert FIRST in machine.frozen
    machine.start(SECOND, "blink")
    machine.end(SECOND, 0.01)
    assert machine.controller.thaw_if_idle(machine.now_s + 0.1) == []
    [thawed] = run(machine, 1, on=0.5)
    assert (thawed.key, thawed.on) == (FIRST, False)
