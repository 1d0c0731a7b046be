"""Models of the simulated environment: network, disk, clocks and programs."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.simulation.disk import AppendOnlyFile, SimDisk
from tests.simulation.network import DOWN, UP, NetworkPath, SimConnection
from tests.simulation.plan_generator import generate_plan
from tests.simulation.program import Program
from tests.simulation.simulator import SimClock, Simulator


class RecordingReceiver:
    def __init__(self) -> None:
        self.received: list[bytes | str] = []

    def on_data(self, data: bytes) -> None:
        self.received.append(data)

    def on_close(self) -> None:
        self.received.append("closed")


def connect() -> tuple[Simulator, NetworkPath, SimConnection, RecordingReceiver]:
    sim = Simulator(1)
    path = NetworkPath(sim)
    connection, receiver = SimConnection(path), RecordingReceiver()
    connection.set_receiver(UP, receiver)
    connection.set_receiver(DOWN, RecordingReceiver())
    return sim, path, connection, receiver


def pass_time(sim: Simulator, ms: int) -> None:
    sim.call_at(sim.now_ms + ms, lambda: None)
    sim.run(sim.now_ms + ms, lambda: False)


def test_data_in_flight_arrives_after_a_cut() -> None:
    sim, path, connection, receiver = connect()
    path.change_cuts(UP, 1)
    for word in (b"a", b"b", b"c"):
        connection.send(UP, word)
    connection.close(UP)
    pass_time(sim, 100_000)
    assert receiver.received == []
    path.change_cuts(UP, -1)
    assert receiver.received == [b"a", b"b", b"c", "closed"]


def test_an_old_connection_retransmits_late_and_a_new_one_overtakes_it() -> None:
    sim, path, old, receiver = connect()
    path.backoff_ms = 30_000
    path.change_cuts(UP, 1)
    old.send(UP, b"old")
    pass_time(sim, 60_000)
    path.change_cuts(UP, -1)
    new = SimConnection(path)
    new.set_receiver(UP, receiver)
    new.send(UP, b"new")
    pass_time(sim, 100)
    assert receiver.received == [b"new"]
    pass_time(sim, 30_000)
    assert receiver.received == [b"new", b"old"]
    assert sim.counts == {"late on an old connection": 1}


def test_data_stays_in_order_when_the_delay_decreases() -> None:
    sim, path, connection, receiver = connect()
    path.delays_ms[UP] = 5000
    connection.send(UP, b"slow")
    path.delays_ms[UP] = 0
    connection.send(UP, b"fast")
    pass_time(sim, 4000)
    assert receiver.received == []
    pass_time(sim, 2000)
    assert receiver.received == [b"slow", b"fast"]


def test_a_reset_connection_loses_data_in_flight_and_notifies_the_receiver() -> None:
    sim, path, connection, receiver = connect()
    connection.send(UP, b"lost")
    path.reset_connections()
    pass_time(sim, 1000)
    assert receiver.received == ["closed"]
    assert path.connections == []


def test_a_power_cut_keeps_synced_lines_and_a_full_disk_rejects_writes() -> None:
    sim = Simulator(1)
    disk = SimDisk(sim)
    file = AppendOnlyFile(disk, b"first\n")
    file.append(b"synced\n")
    file.sync(lambda _: None)
    pass_time(sim, 100)
    file.append(b"written\n")
    file.cut_power(None)
    assert file.read_bytes() == b"first\nsynced\n"
    disk.full_faults += 1
    with pytest.raises(OSError, match="No space left"):
        file.append(b"more\n")


def test_a_power_cut_keeps_a_prefix_of_unsynced_lines() -> None:
    kept = set()
    for seed in range(50):
        file = AppendOnlyFile(SimDisk(Simulator(1)), b"0")
        for each in (b"1", b"2", b"3"):
            file.append(each)
        file.cut_power(Random(seed))
        kept.add(file.read_bytes())
    assert kept == {b"0", b"01", b"012", b"0123"}


@given(st.integers(900, 1100), st.integers(0, 10**7), st.integers(0, 10**6))
def test_time_of_steady_is_the_first_time_at_which_the_clock_shows_a_value(
    rate: int, now: int, ahead_ms: int
) -> None:
    sim = Simulator(1)
    clock = SimClock(sim, rate, 5000)
    sim.now_ms = now
    wanted_ms = clock.steady_ms() + ahead_ms
    sim.now_ms = clock.time_of_steady(wanted_ms)
    assert clock.steady_ms() >= wanted_ms
    sim.now_ms -= 1
    assert clock.steady_ms() < wanted_ms or not ahead_ms


def test_frozen_time_does_not_count_towards_the_run_time_of_a_program() -> None:
    sim = Simulator(1)
    exited: list[Program] = []
    program = Program(sim, (1, 1), ["work", "10", "3", "obeys", "none"], exited.append)
    pass_time(sim, 4000)
    program.freeze(True)
    pass_time(sim, 60_000)
    assert not exited
    program.freeze(False)
    pass_time(sim, 5999)
    assert not exited
    pass_time(sim, 1)
    assert exited == [program]
    assert program.outcome == 3


def test_a_seed_always_generates_the_same_plan() -> None:
    assert generate_plan(7) == generate_plan(7)
    assert generate_plan(7) != generate_plan(8)
