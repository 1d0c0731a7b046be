"""Starts sent ahead on a machine that scales automatically: only jobs of short commands, one for
each of them that runs, and none while memory is short."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mythjobs.agent.core.attempt import Key
from mythjobs.agent.scaling.controller import ScalingController
from mythjobs.agent.scaling.counters import MIB, JobCounters, MachineCounters
from mythjobs.agent.scaling.footprint import Footprint
from mythjobs.clock import Now
from mythjobs.protocol import messages as m
from tests.support.agent_harness import AgentHarness, at

GIB = 1024 * MIB
LIMIT = 16  # of short jobs on two cores


class Gate:
    """Gate of a machine of two cores and 8 GiB."""

    def __init__(self) -> None:
        self.controller = ScalingController(2, 8 * GIB)
        short = Footprint(3, cpu=1.0, peak_bytes=MIB, wall_s=0.002)
        encode = Footprint(3, cpu=0.5, peak_bytes=MIB, wall_s=60)
        self.controller.footprints.update(true=short, encode=encode)

    def admit(self, key: Key, command: str, now: Now, /) -> bool:
        if self.controller.find_refusal(command) is not None:
            return False
        self.count_running(key, command, now)
        return True

    def count_running(self, key: Key, command: str, now: Now, /) -> None:
        self.controller.add_job(key, command, now.steady_ms / 1000)

    def is_short(self, command: str, /) -> bool:
        return self.controller.footprints[command].is_short

    def can_follow(self, command: str, /) -> bool:
        return self.controller.can_follow(command)

    def count_followed(self) -> int:
        return self.controller.count_followed()

    def set_background(self, key: Key, nice: int, /) -> None: ...


class Machine(AgentHarness):
    """An agent with this gate. It has the grants of `jobs` short jobs from job 1 on."""

    def __init__(self, jobs: int, *, slots: int = 64) -> None:
        self.gate = Gate()
        super().__init__(jobs=slots, gate=self.gate)
        self.answers_recalls = False
        self.master_sends(*self.grants(range(1, jobs + 1)))

    def grants(self, jobs: Iterable[int], **given: Any) -> list[m.Grant]:
        return [self.make_grant(job, command="true", **given) for job in jobs]

    def end(self, job: int, following: int | None = None, wall_s: float = 0.002) -> None:
        """Report the end of a job, which another one may follow."""
        self.gate.controller.remove_job((job, 1), JobCounters(), wall_s, has_succeeded=True)
        ended = self.ended(job)
        self.reaper_sends({**ended, "next": [following, 1]} if following else ended)

    def set_memory(self, available_bytes: int) -> None:
        self.now += 1
        counters = MachineCounters(0.0, 0.0, available_bytes, 0.0, {}, {}, 0.0)
        self.gate.controller.step(counters, (), self.now)
        self.execute(self.core.change_freezes([], at(self.now)))

    def take_kinds(self) -> list[str]:
        kinds = [str(each["type"]) for each in self.reaper_messages]
        self.reaper_messages.clear()
        return kinds


def numbers(first: int, last: int) -> list[int]:
    return list(range(first, last + 1))


def test_short_jobs_beyond_their_limit_are_sent_ahead_one_for_each_that_runs() -> None:
    # The limit of the gate, not the slots, kept them waiting: then none was sent ahead.
    machine = Machine(40)
    assert machine.take_starts() == numbers(1, LIMIT)
    assert machine.take_next_starts() == numbers(LIMIT + 1, 2 * LIMIT)
    machine.reaper_messages.clear()

    machine.end(1, following=17)
    assert machine.take_next_starts() == [33]
    assert machine.take_starts() == []
    assert machine.core.running_count == LIMIT
    assert len(machine.gate.controller.short) == LIMIT


def test_an_end_before_the_start_that_was_to_follow_is_made_up_for() -> None:
    machine = Machine(40)
    machine.reaper_messages.clear()
    machine.end(1)
    assert machine.take_starts() == [17]
    assert machine.take_next_starts() == [33]


def test_slots_limit_what_is_sent_ahead() -> None:
    machine = Machine(40, slots=2)
    assert machine.take_starts() == [1, 2]
    assert machine.take_next_starts() == [3, 4]


def test_short_jobs_do_not_follow_as_many_jobs_as_run_but_as_many_short_ones() -> None:
    machine = Machine(0, slots=4)
    encode = [machine.make_grant(job, command="encode") for job in (1, 2)]
    machine.master_sends(*encode, *machine.grants(numbers(3, 9)))
    assert machine.take_starts() == [1, 2, 3, 4]
    assert machine.take_next_starts() == [5, 6]


def test_short_jobs_that_followed_long_ones_do_not_raise_the_limit() -> None:
    machine = Machine(0)
    machine.master_sends(machine.make_grant(100, command="encode"))
    machine.master_sends(*machine.grants(numbers(1, 60)))
    machine.reaper_messages.clear()
    machine.end(100, following=17, wall_s=60.0)
    assert len(machine.gate.controller.short) == LIMIT + 1
    assert machine.take_next_starts() == []
    # One more than the limit runs until the starts that the reaper has are used up.
    for job in numbers(1, 15):
        machine.end(job, following=job + 17)
    machine.end(16)
    assert len(machine.gate.controller.short) == LIMIT
    assert machine.take_next_starts() == numbers(33, 48)
    assert machine.take_starts() == []


def test_nothing_is_sent_ahead_while_memory_is_short() -> None:
    machine = Machine(40)
    machine.set_memory(4 * GIB)
    assert machine.take_kinds().count("recall") == 0
    machine.set_memory(10 * MIB)
    assert machine.take_kinds() == ["recall"]
    ahead = [[job, 1] for job in numbers(LIMIT + 1, 2 * LIMIT)]
    machine.reaper_sends({"type": "recalled", "attempts": ahead})
    machine.end(1)
    assert machine.take_kinds() == []
    assert machine.core.running_count == LIMIT - 1
    machine.set_memory(4 * GIB)
    assert machine.take_starts() == [17]
    assert machine.take_next_starts() == numbers(18, 33)


def test_slots_that_are_full_send_nothing_ahead_while_memory_is_short() -> None:
    machine = Machine(0, slots=2)
    machine.master_sends(*machine.grants([1, 2]))
    machine.set_memory(4 * GIB)
    machine.set_memory(10 * MIB)
    machine.master_sends(*machine.grants([3, 4]))
    assert machine.take_next_starts() == []


def test_one_short_job_runs_even_if_memory_stays_short() -> None:
    machine = Machine(0)
    machine.set_memory(4 * GIB)
    machine.set_memory(10 * MIB)
    machine.master_sends(*machine.grants([1, 2]))
    assert machine.take_starts() == [1]
    machine.end(1)
    assert machine.take_starts() == [2]


def test_a_command_that_is_not_short_any_more_is_recalled() -> None:
    machine = Machine(40)
    machine.reaper_messages.clear()
    machine.end(1, following=17, wall_s=30.0)
    assert machine.take_kinds() == ["recall"]


def test_a_long_job_that_does_not_fit_stops_no_short_one() -> None:
    machine = Machine(0)
    encode = [machine.make_grant(job, command="encode", priority=1) for job in numbers(1, 9)]
    machine.master_sends(*encode)
    fitting = machine.take_starts()
    assert 1 < len(fitting) < 9
    machine.reaper_messages.clear()
    machine.master_sends(*machine.grants(numbers(20, 60)))
    assert machine.take_starts() == numbers(20, 20 + LIMIT - 1)
    assert machine.take_next_starts() == numbers(20 + LIMIT, 20 + 2 * LIMIT - 1)
    machine.end(20, following=36)
    assert machine.take_next_starts() == [52]
    # It starts as soon as it fits, although the reaper has starts of short ones.
    machine.end(fitting[0], wall_s=60.0)
    assert machine.take_starts()[0] == fitting[-1] + 1


def test_a_job_with_a_lease_is_not_sent_ahead_and_not_overtaken() -> None:
    machine = Machine(LIMIT)
    machine.master_sends(*machine.grants([17], lease_s=600.0))
    machine.master_sends(*machine.grants(numbers(18, 20)))
    machine.reaper_messages.clear()
    assert machine.take_next_starts() == []
    machine.end(1)
    assert machine.take_starts() == [17]
    assert machine.take_next_starts() == [18, 19, 20]
