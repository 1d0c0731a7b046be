"""What the models around the cores promise, since all that the simulation says rests on it."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.simulation.disk import Disk, Log
from tests.simulation.draw import draw
from tests.simulation.program import Program
from tests.simulation.wire import DOWN, UP, Path, Wire
from tests.simulation.world import Clock, World


class Reader:
    def __init__(self) -> None:
        self.heard: list[bytes | str] = []

    def received(self, data: bytes) -> None:
        self.heard.append(data)

    def hung_up(self) -> None:
        self.heard.append("hung up")


def connected() -> tuple[World, Path, Wire, Reader]:
    world = World(1)
    path = Path(world)
    wire, reader = Wire(path), Reader()
    wire.reads(UP, reader)
    wire.reads(DOWN, Reader())
    return world, path, wire, reader


def pass_time(world: World, ms: int) -> None:
    world.at(world.now + ms, lambda: None)
    world.run(world.now + ms, lambda: False)


def test_a_cut_holds_what_is_under_way_until_it_is_over() -> None:
    world, path, wire, reader = connected()
    path.set_cut(UP, 1)
    for word in (b"a", b"b", b"c"):
        wire.send(UP, word)
    wire.close(UP)
    pass_time(world, 100_000)
    assert reader.heard == []
    path.set_cut(UP, -1)
    assert reader.heard == [b"a", b"b", b"c", "hung up"]


def test_a_connection_finds_out_late_that_a_cut_is_over_and_a_new_one_overtakes_it() -> None:
    world, path, old, reader = connected()
    path.backoff_ms = 30_000
    path.set_cut(UP, 1)
    old.send(UP, b"old")
    pass_time(world, 60_000)
    path.set_cut(UP, -1)
    new = Wire(path)
    new.reads(UP, reader)
    new.send(UP, b"new")
    pass_time(world, 100)
    assert reader.heard == [b"new"]
    pass_time(world, 30_000)
    assert reader.heard == [b"new", b"old"]
    assert world.counts == {"late on an old connection": 1}


def test_what_is_sent_later_never_comes_first_also_where_the_network_gets_faster() -> None:
    world, path, wire, reader = connected()
    path.slow_ms[UP] = 5000
    wire.send(UP, b"slow")
    path.slow_ms[UP] = 0
    wire.send(UP, b"fast")
    pass_time(world, 4000)
    assert reader.heard == []
    pass_time(world, 2000)
    assert reader.heard == [b"slow", b"fast"]


def test_a_broken_connection_loses_what_is_under_way_and_says_so() -> None:
    world, path, wire, reader = connected()
    wire.send(UP, b"lost")
    path.reset()
    pass_time(world, 1000)
    assert reader.heard == ["hung up"]
    assert path.wires == []


def test_a_power_cut_keeps_what_was_synced_and_a_full_disk_takes_nothing() -> None:
    world = World(1)
    disk = Disk(world)
    log = Log(disk, b"first\n")
    log.append(b"synced\n")
    log.sync(lambda: None)
    pass_time(world, 100)
    log.append(b"written\n")
    log.power_cut(None)
    assert log.read_bytes() == b"first\nsynced\n"
    disk.full += 1
    with pytest.raises(OSError, match="No space left"):
        log.append(b"more\n")


def test_of_what_was_not_synced_a_power_cut_keeps_a_beginning() -> None:
    kept = set()
    for seed in range(50):
        log = Log(Disk(World(1)), b"0")
        for each in (b"1", b"2", b"3"):
            log.append(each)
        log.power_cut(Random(seed))
        kept.add(log.read_bytes())
    assert kept == {b"0", b"01", b"012", b"0123"}


@given(st.integers(900, 1100), st.integers(0, 10**7), st.integers(0, 10**6))
def test_a_clock_says_when_it_will_show_an_instant(rate: int, now: int, ahead_ms: int) -> None:
    world = World(1)
    clock = Clock(world, rate, 5000)
    world.now = now
    wanted_ms = clock.steady() + ahead_ms
    world.now = clock.when(wanted_ms)
    assert clock.steady() >= wanted_ms
    world.now -= 1
    assert clock.steady() < wanted_ms or not ahead_ms


def test_a_frozen_program_does_no_work() -> None:
    world = World(1)
    died: list[Program] = []
    program = Program(world, (1, 1), ["work", "10", "3", "obeys", "none"], died.append)
    pass_time(world, 4000)
    program.freeze(True)
    pass_time(world, 60_000)
    assert not died
    program.freeze(False)
    pass_time(world, 5999)
    assert not died
    pass_time(world, 1)
    assert died == [program]
    assert program.outcome == 3


def test_a_seed_always_draws_the_same() -> None:
    assert draw(7) == draw(7)
    assert draw(7) != draw(8)
