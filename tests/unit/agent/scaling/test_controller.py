"""Decisions of the scaling controller, step by step."""

from __future__ import annotations

import pytest

from mythjobs.agent.scaling.controller import ScalingController
from mythjobs.agent.scaling.counters import (
    MIB,
    JobCounters,
)
from mythjobs.agent.scaling.footprint import Footprint
from tests.unit.agent.scaling.machine import FIRST, GIB, SECOND, THIRD, Machine, known


def test_an_idle_machine_always_runs_one_job() -> None:
    machine = Machine()
    known(machine.controller, huge=Footprint(5, cpu=9.0, peak_bytes=64 * GIB, wall_s=60))
    assert machine.controller.find_refusal("huge") is None
    assert machine.controller.count_room("huge") == 1


def test_a_new_command_runs_alone_until_it_has_been_measured() -> None:
    machine = Machine()
    assert machine.controller.count_room("encode") == 1
    machine.start(FIRST, "encode")
    refusal = machine.controller.find_refusal("encode")
    assert refusal is not None
    assert refusal.sentence == "the use of encode is being measured, as it is new here"
    for _ in range(2):
        machine.use(FIRST, cpu=1.0)
        machine.step("encode")
    # One is measured, so one more may be started and measured with it.
    assert machine.controller.count_room("encode") == 1


def test_a_measured_command_runs_as_often_as_the_cores_permit() -> None:
    machine = Machine()
    known(machine.controller, encode=Footprint(3, cpu=1.0, peak_bytes=GIB, wall_s=60))
    assert machine.controller.count_room("encode") == 4
    for number in range(4):
        machine.start((number, 1), "encode")
    refusal = machine.controller.find_refusal("encode")
    assert refusal is not None
    assert refusal.sentence == (
        "the running jobs use 4.0 of 4 cores, and the next job would use 1.0"
    )


def test_foreign_load_takes_its_cores_from_the_jobs() -> None:
    machine = Machine()
    known(machine.controller, encode=Footprint(3, cpu=1.0, peak_bytes=GIB, wall_s=60))
    for _ in range(4):
        machine.step(foreign_cpu=2.0)
    assert machine.controller.count_room("encode") == 2
    machine.start(FIRST, "encode")
    machine.start(SECOND, "encode")
    refusal = machine.controller.find_refusal("encode")
    assert refusal is not None
    assert "other programs use 1.9" in refusal.sentence


def test_the_cpu_time_of_jobs_that_ended_is_not_foreign() -> None:
    machine = Machine()
    known(machine.controller, encode=Footprint(3, cpu=1.0, peak_bytes=GIB, wall_s=60))
    machine.start(FIRST, "encode")
    machine.use(FIRST, cpu=1.0)
    machine.step()
    # The job uses 0.9 s more and ends before the next sample.
    machine.use(FIRST, cpu=0.9)
    machine.end(FIRST, 1.9)
    machine.step()
    machine.start(SECOND, "encode")
    assert machine.controller.count_room("encode") == 3


def test_a_job_is_refused_whose_memory_does_not_fit() -> None:
    machine = Machine()
    known(machine.controller, index=Footprint(3, cpu=0.5, peak_bytes=4 * GIB, wall_s=60))
    machine.step(free=9 * GIB)
    machine.start(FIRST, "index")
    machine.use(FIRST, cpu=0.5, memory=GIB)
    machine.step(free=8 * GIB)
    # Of the 8 GiB that are free the first job takes 3, and 0.8 stay free for other programs.
    assert machine.controller.count_room("index") == 1
    machine.start(SECOND, "index")
    refusal = machine.controller.find_refusal("index")
    assert refusal is not None
    assert refusal.resource == "memory"
    assert "8.0 GiB of memory are free, of which the running jobs will take 7.0" in refusal.sentence


def test_one_heavy_stream_saturates_a_disk_and_a_job_without_disk_runs_beside_it() -> None:
    machine = Machine()
    known(
        machine.controller,
        copy=Footprint(3, cpu=0.1, peak_bytes=MIB, wall_s=60, disks={"sda": 0.95}),
        encode=Footprint(3, cpu=1.0, peak_bytes=GIB, wall_s=60),
    )
    machine.start(FIRST, "copy")
    refusal = machine.controller.find_refusal("copy")
    assert refusal is not None
    assert refusal.sentence == "disk sda is saturated by 1 heavy stream"
    assert machine.controller.find_refusal("encode") is None


def test_a_copy_is_learned_as_heavy_and_an_encoder_as_one_core() -> None:
    machine = Machine()
    machine.start(FIRST, "copy")
    for _ in range(10):
        machine.use(FIRST, cpu=0.1, mib=100)
        machine.step()
    assert machine.end(FIRST, 10.0)
    copy = machine.controller.footprints["copy"]
    assert copy.cpu == pytest.approx(0.1)
    assert copy.disks["sda"] == pytest.approx(1.0)
    assert copy.peak_bytes == 50 * MIB


def test_time_that_a_job_waited_for_a_core_counts_as_demand() -> None:
    machine = Machine()
    machine.start(FIRST, "encode")
    for _ in range(10):
        machine.use(FIRST, cpu=0.5, wait=0.5)
        machine.step(foreign_cpu=3.5)
    machine.end(FIRST, 10.0)
    assert machine.controller.footprints["encode"].cpu == pytest.approx(1.0)


def test_a_failed_job_teaches_only_its_memory() -> None:
    machine = Machine()
    known(machine.controller, index=Footprint(3, cpu=0.5, peak_bytes=GIB, wall_s=60))
    machine.start(FIRST, "index")
    machine.use(FIRST, cpu=4.0, memory=3 * GIB)
    machine.step()
    machine.end(FIRST, 1.0, has_succeeded=False)
    index = machine.controller.footprints["index"]
    assert (index.cpu, index.wall_s, index.peak_bytes) == (0.5, 60, 3 * GIB)


def test_tiny_jobs_run_sixteen_at_once_on_two_cores() -> None:
    controller = ScalingController(2, 8 * GIB)
    known(controller, true=Footprint(3, cpu=1.0, peak_bytes=MIB, wall_s=0.002))
    assert controller.count_room("true") == 16
    for number in range(16):
        assert controller.find_refusal("true") is None
        controller.add_job((number, 1), "true", 0.0)
    assert controller.find_refusal("true") is not None


def test_a_short_command_that_became_long_is_measured_again() -> None:
    controller = ScalingController(2, 8 * GIB)
    known(controller, sync=Footprint(3, cpu=1.0, peak_bytes=MIB, wall_s=0.1))
    controller.add_job(FIRST, "sync", 0.0)
    controller.remove_job(FIRST, JobCounters(30.0), 30.0, has_succeeded=True)
    assert not controller.footprints["sync"].is_short


def test_a_job_of_a_short_command_that_runs_on_is_measured() -> None:
    machine = Machine()
    known(machine.controller, sync=Footprint(3, cpu=1.0, peak_bytes=MIB, wall_s=0.1))
    machine.start(FIRST, "sync")
    assert machine.controller.list_measured(machine.now_s + 0.9) == []
    assert machine.controller.list_measured(machine.now_s + 1.1) == [FIRST]
    machine.use(FIRST, cpu=1.0)
    machine.step()
    machine.end(FIRST, 30.0)
    assert not machine.controller.footprints["sync"].is_short


def test_a_command_is_not_short_because_a_few_of_its_jobs_had_nothing_to_do() -> None:
    footprint = Footprint()
    footprint.learn(4.0, {}, 0.0, GIB, 600.0)
    for _ in range(10):
        footprint.learn(0.1, {}, 0.0, MIB, 0.1)
    assert not footprint.is_short


def test_an_adopted_job_teaches_only_its_memory_and_its_past_is_not_new_load() -> None:
    machine = Machine()
    known(machine.controller, encode=Footprint(3, cpu=1.0, peak_bytes=MIB, wall_s=60))
    machine.jobs[FIRST] = JobCounters(5000.0, 0.0, GIB)
    machine.controller.adopt_job(FIRST, "encode", machine.jobs[FIRST], machine.now_s)
    assert machine.controller.list_measured(machine.now_s) == [FIRST]
    machine.use(FIRST, cpu=1.0, memory=GIB)
    machine.step(foreign_cpu=2.0)
    machine.step(foreign_cpu=2.0)
    assert machine.controller.count_room("encode") == 2
    machine.end(FIRST, 9999.0)
    encode = machine.controller.footprints["encode"]
    assert (encode.runs, encode.cpu, encode.peak_bytes) == (3, 1.0, GIB)


def start_two_heavy_jobs(machine: Machine) -> None:
    known(
        machine.controller,
        copy=Footprint(3, cpu=0.1, peak_bytes=MIB, wall_s=60, disks={"sda": 0.95}),
    )
    machine.start(FIRST, "copy")
    machine.step()
    machine.start(SECOND, "copy")


def test_foreign_io_freezes_the_youngest_of_two_streams_within_two_seconds() -> None:
    machine = Machine()
    start_two_heavy_jobs(machine)
    found = []
    for _ in range(2):
        machine.use(FIRST, mib=40)
        machine.use(SECOND, mib=40)
        found += machine.step(foreign_mib=20)
    assert [(each.key, each.on) for each in found] == [(SECOND, True)]
    assert found[0].reason == "other programs use disk sda"


def test_the_last_running_job_is_never_frozen() -> None:
    machine = Machine()
    machine.start(FIRST, "index")
    for _ in range(10):
        machine.use(FIRST, cpu=0.5, memory=15 * GIB)
        assert machine.step(free=10 * MIB, stalled=0.9) == []


def test_memory_pressure_freezes_the_youngest_job_and_admits_none() -> None:
    machine = Machine()
    for key in (FIRST, SECOND, THIRD):
        machine.start(key, "index")
        machine.step()
    assert [each.key for each in machine.step(free=100 * MIB)] == [THIRD]
    refusal = machine.controller.find_refusal("index")
    assert refusal is not None
    assert refusal.sentence == "memory is short"
    # The next one is frozen two seconds later, and the first is left running.
    assert machine.step(free=100 * MIB) == []
    assert [each.key for each in machine.step(free=100 * MIB)] == [SECOND]
    assert [machine.step(free=100 * MIB) for _ in range(5)] == [[]] * 5


def test_a_frozen_job_continues_after_its_back_off_when_it_fits() -> None:
    machine = Machine()
    known(machine.controller, encode=Footprint(3, cpu=3.5, peak_bytes=GIB, wall_s=60))
    machine.start(FIRST, "encode")
    machine.step()
    machine.start(SECOND, "encode")
    machine.use(FIRST, cpu=3.5)
    assert [each.key for each in machine.step(free=100 * MIB)] == [SECOND]
    thawed = []
    for _ in range(8):
        machine.use(FIRST, cpu=3.5)
        thawed += machine.step()
        assert not thawed, "7 cores are more than 4"
    machine.end(FIRST, 10.0)
    [change] = machine.controller.thaw_if_idle(machine.now_s)
    assert (change.key, change.on) == (SECOND, False)


def test_a_job_that_leaves_cores_idle_gets_company_even_beyond_the_overcommit() -> None:
    machine = Machine()
    encode = machine.controller.footprints["encode"] = Footprint(3, cpu=3.3, wall_s=60)
    assert machine.controller.count_room("encode") == 2
    encode.cpu = 3.5
    assert machine.controller.count_room("encode") == 1


def test_a_job_that_a_user_paused_is_not_thawed() -> None:
    machine = Machine()
    machine.start(FIRST, "encode")
    machine.step()
    machine.start(SECOND, "encode")
    machine.step(free=100 * MIB)
    machine.controller.set_frozen(SECOND, by_controller=True, by_others=True)
    machine.end(FIRST, 2.0)
    assert machine.controller.thaw_if_idle(machine.now_s) == []
    machine.controller.set_frozen(SECOND, by_controller=True, by_others=False)
    assert [each.key for each in machine.controller.thaw_if_idle(machine.now_s)] == [SECOND]


def test_foreign_load_at_low_priority_does_not_count() -> None:
    machine = Machine()
    known(machine.controller, encode=Footprint(3, cpu=1.0, peak_bytes=GIB, wall_s=60))
    for _ in range(5):
        machine.nice_s += 2.0
        machine.step(foreign_cpu=2.0)
    assert machine.controller.count_room("encode") == 4


def test_the_load_of_the_agent_itself_is_not_foreign() -> None:
    machine = Machine()
    known(machine.controller, encode=Footprint(3, cpu=1.0, peak_bytes=GIB, wall_s=60))
    for _ in range(5):
        machine.overhead_s += 1.5
        machine.step(foreign_cpu=1.5)
    assert machine.controller.count_room("encode") == 4


def test_idle_cores_raise_the_overcommit_while_the_processor_limits() -> None:
    """Jobs that use less than their footprint promised leave cores idle."""
    machine = Machine()
    known(machine.controller, encode=Footprint(3, cpu=2.0, peak_bytes=MIB, wall_s=600))
    machine.start(FIRST, "encode")
    machine.start(SECOND, "encode")
    assert machine.controller.find_refusal("encode") is not None
    for _ in range(30):
        machine.use(FIRST, cpu=1.2)
        machine.use(SECOND, cpu=1.2)
        machine.step("encode")
    assert machine.controller.find_refusal("encode") is None


def test_what_was_learned_survives_a_restart() -> None:
    machine = Machine()
    machine.start(FIRST, "copy")
    for _ in range(10):
        machine.use(FIRST, cpu=0.1, mib=100)
        machine.step("copy")
    machine.end(FIRST, 10.0)
    fresh = ScalingController(4, 16 * GIB)
    fresh.load_json(machine.controller.to_json())
    assert fresh.disks["sda"].single_bytes_per_s == pytest.approx(100 * MIB)
    copy = machine.controller.footprints["copy"]
    assert Footprint.from_json(copy.to_json()).to_json() == copy.to_json()


@pytest.mark.parametrize("value", [[], [1, 2], ["x"] * 6, [1, 1.0, 1, 1.0, 0.0, None]])
def test_a_malformed_footprint_is_refused(value: list[object]) -> None:
    with pytest.raises(ValueError):
        Footprint.from_json(value)
