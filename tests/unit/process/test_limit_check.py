"""Which limit is broken, look after look; hours pass in it without waiting."""

from __future__ import annotations

from mythjobs.model.limits import Limits
from mythjobs.process.supervise.limit_check import Seen, Watchman

NONE: frozenset[str] = frozenset()


def seen(
    cpu_s: float = 0.0, moved: int = 0, written: int = 0, memory: int = 0, processes: int = 1
) -> Seen:
    return Seen(cpu_s, moved, written, memory, processes)


def test_one_that_shows_no_sign_of_life_is_idle() -> None:
    watchman = Watchman(Limits(idle_s=60), NONE, 0)
    assert watchman.look(seen(1.0), 0) is None
    assert watchman.look(seen(1.0), 59_999) is None
    assert watchman.look(seen(1.0), 60_000) == "idle"


def test_cpu_reads_writes_and_output_are_signs_of_life() -> None:
    for sign in (seen(1.7), seen(1.0, moved=1), seen(1.0, written=1)):
        watchman = Watchman(Limits(idle_s=60), NONE, 0)
        watchman.look(seen(1.0), 0)
        assert watchman.look(sign, 50_000) is None
        assert watchman.look(sign, 109_999) is None
        assert watchman.look(sign, 110_000) == "idle"


def test_looking_at_a_clock_now_and_then_is_none() -> None:
    watchman = Watchman(Limits(idle_s=60), NONE, 0)
    for second in range(60):
        # A tenth of a percent of a core.
        assert watchman.look(seen(second * 0.001), second * 1000) is None
    assert watchman.look(seen(0.06), 60_000) == "idle"


def test_time_in_which_it_was_frozen_is_not_idle() -> None:
    watchman = Watchman(Limits(idle_s=60), NONE, 0)
    watchman.look(seen(), 0)
    watchman.frozen_for(3_600_000)
    assert watchman.look(seen(), 3_659_999) is None
    assert watchman.look(seen(), 3_660_000) == "idle"


def test_cpu_is_looked_at_before_it_can_be_far_over() -> None:
    watchman = Watchman(Limits(cpu_s=100), NONE, 0)
    now_ms, cpu_s = 0, 0.0
    while (limit := watchman.look(seen(cpu_s), now_ms)) is None:
        later_ms = watchman.next_ms(seen(cpu_s), now_ms)
        assert later_ms > now_ms
        cpu_s += (later_ms - now_ms) / 1000
        now_ms = later_ms
    assert limit == "cpu"
    assert 100 <= cpu_s < 100.1


def test_memory_and_processes_are_looked_at_only_where_nothing_else_holds_to_them() -> None:
    limits = Limits(memory_bytes=100, processes=2)
    many = seen(memory=101, processes=3)
    assert Watchman(limits, NONE, 0).look(many, 0) is None
    assert Watchman(limits, frozenset({"memory"}), 0).look(many, 0) == "memory"
    assert Watchman(limits, frozenset({"processes"}), 0).look(many, 0) == "processes"
    assert Watchman(limits, frozenset({"processes"}), 0).next_ms(many, 0) == 100


def test_idle_says_more_than_cpu() -> None:
    watchman = Watchman(Limits(idle_s=1, cpu_s=1), NONE, 0)
    watchman.look(seen(0.999), 0)
    assert watchman.look(seen(1.0), 5000) == "idle"
