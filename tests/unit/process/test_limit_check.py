"""Limit checks on successive samples, with simulated time."""

from __future__ import annotations

from mythjobs.model.limits import Limits
from mythjobs.process.supervise.limit_check import LimitCheck, TreeSample

NONE: frozenset[str] = frozenset()


def sample(
    cpu_s: float = 0.0, transferred: int = 0, written: int = 0, memory: int = 0, processes: int = 1
) -> TreeSample:
    return TreeSample(cpu_s, transferred, written, memory, processes)


def test_no_activity_breaches_the_idle_limit() -> None:
    check = LimitCheck(Limits(idle_s=60), NONE, 0)
    assert check.find_breach(sample(1.0), 0) is None
    assert check.find_breach(sample(1.0), 59_999) is None
    assert check.find_breach(sample(1.0), 60_000) == "idle"


def test_cpu_io_and_output_count_as_activity() -> None:
    for activity in (sample(1.7), sample(1.0, transferred=1), sample(1.0, written=1)):
        check = LimitCheck(Limits(idle_s=60), NONE, 0)
        check.find_breach(sample(1.0), 0)
        assert check.find_breach(activity, 50_000) is None
        assert check.find_breach(activity, 109_999) is None
        assert check.find_breach(activity, 110_000) == "idle"


def test_cpu_use_within_the_noise_is_no_activity() -> None:
    check = LimitCheck(Limits(idle_s=60), NONE, 0)
    for second in range(60):
        # A tenth of a percent of a core.
        assert check.find_breach(sample(second * 0.001), second * 1000) is None
    assert check.find_breach(sample(0.06), 60_000) == "idle"


def test_frozen_time_is_excluded_from_idle_time() -> None:
    check = LimitCheck(Limits(idle_s=60), NONE, 0)
    check.find_breach(sample(), 0)
    check.exclude_frozen(3_600_000)
    assert check.find_breach(sample(), 3_659_999) is None
    assert check.find_breach(sample(), 3_660_000) == "idle"


def test_cpu_is_checked_before_the_limit_is_exceeded_by_much() -> None:
    check = LimitCheck(Limits(cpu_s=100), NONE, 0)
    now_ms, cpu_s = 0, 0.0
    while (limit := check.find_breach(sample(cpu_s), now_ms)) is None:
        later_ms = check.next_check_ms(sample(cpu_s), now_ms)
        assert later_ms > now_ms
        cpu_s += (later_ms - now_ms) / 1000
        now_ms = later_ms
    assert limit == "cpu"
    assert 100 <= cpu_s < 100.1


def test_memory_and_processes_are_checked_only_if_sampled() -> None:
    limits = Limits(memory_bytes=100, processes=2)
    many = sample(memory=101, processes=3)
    assert LimitCheck(limits, NONE, 0).find_breach(many, 0) is None
    assert LimitCheck(limits, frozenset({"memory"}), 0).find_breach(many, 0) == "memory"
    assert LimitCheck(limits, frozenset({"processes"}), 0).find_breach(many, 0) == "processes"
    assert LimitCheck(limits, frozenset({"processes"}), 0).next_check_ms(many, 0) == 100


def test_idle_takes_precedence_over_cpu() -> None:
    check = LimitCheck(Limits(idle_s=1, cpu_s=1), NONE, 0)
    check.find_breach(sample(0.999), 0)
    assert check.find_breach(sample(1.0), 5000) == "idle"
