"""Lost machines and slow attempts, as the watch finds them and turns report them."""

from __future__ import annotations

from typing import Any

from mythjobs.master import requests
from mythjobs.master.notify import requests as r
from mythjobs.master.notify.watch import find_conditions
from mythjobs.model.machine_control import MachineControl
from mythjobs.protocol import messages as m
from tests.unit.master.harness import HOUR_S, Harness
from tests.unit.master.notify.test_turn_notify import add_channel, bell, deliver, messages


def test_a_lost_machine_and_its_held_jobs_are_one_message(master: Harness) -> None:
    master.define(silence="hold", lease="2m")
    add_channel(master)
    connection = master.join(cores=5)
    ids = master.queue(5)
    assert master.take_grants() == ids
    master.disconnect(connection)
    master.advance(600)
    master.turn(_tick(master))
    assert {master.state(each) for each in ids} == {"queued"}
    assert messages(master) == [("mail", "machine attic is not reachable")]
    assert bell(master) == [("lost", "attic", 1)]
    assert master.core.state.notify.known["lost", "machine 1"].affected == 5


def _tick(master: Harness) -> Any:
    return requests.LeaseTick(master.now.steady_ms)


def watch(master: Harness) -> r.ConditionsFound:
    found = find_conditions(master.core.state, master.now, 0, ())
    master.turn(found)
    return found


def test_ten_machines_behind_a_router_are_one_message(master: Harness) -> None:
    add_channel(master)
    connections = [master.join(f"m{n}") for n in range(10)]
    watch(master)
    for each in connections:
        master.disconnect(each)
        master.advance(1)
    for _ in range(10):
        master.advance(30)
        watch(master)
    assert len(messages(master)) == 1
    assert messages(master)[0][1].startswith("10 machines are not reachable: m0, m1,")
    deliver(master)
    for n in range(10):
        master.join(f"m{n}")
        watch(master)
        master.advance(5)
    assert [title[:20] for _, title in messages(master)] == ["10 machines are back"]


def test_a_machine_whose_agent_has_exited_is_not_lost(master: Harness) -> None:
    add_channel(master)
    connection = master.join()
    master.turn(requests.Detached(connection, by_agent=True))
    master.advance(HOUR_S)
    assert watch(master).lost == []


def test_a_job_that_runs_much_longer_than_usual_is_reported_once(master: Harness) -> None:
    master.define()
    add_channel(master)
    connection = master.join()
    master.learn_run_time(connection, 60.0)
    job_id = master.submit().id
    assert master.take_grants() == [job_id]
    master.send_frame(connection, m.Started(job_id, 1, master.now.wall_ms))
    master.advance(600)
    assert watch(master).slow == []
    master.advance(120)
    [slow] = watch(master).slow
    assert (slow.job, slow.n) == (job_id, 1)
    assert messages(master) == [("mail", "flag runs longer than usual")]
    assert find_conditions(master.core.state, master.now, 0, {(job_id, 1)}).slow == []


def test_a_drained_machine_without_jobs_may_be_switched_off(master: Harness) -> None:
    connection = master.join()
    master.core.state.machines[1].control = MachineControl(is_drained=True)
    master.disconnect(connection)
    master.advance(HOUR_S)
    assert watch(master).lost == []


def test_a_machine_that_leaves_with_jobs_is_lost(master: Harness) -> None:
    master.define()
    connection = master.join()
    job_id = master.submit().id
    assert master.take_grants() == [job_id]
    master.turn(requests.Detached(connection, by_agent=True))
    master.advance(HOUR_S)
    assert watch(master).lost == [1]
    assert bell(master) == [("lost", "attic", 1)]


def test_after_a_restart_only_machines_with_jobs_are_waited_for(master: Harness) -> None:
    master.define()
    master.join("attic", 1)
    master.join("cellar", 1)
    job_id = master.submit(machine="attic").id
    assert master.take_grants() == [job_id]
    master.restart()
    master.advance(HOUR_S)
    assert watch(master).lost == [1]
