"""Runs simulated jobs on a simulated machine: with the scaling controller, or a fixed number."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from mythjobs.agent.scaling.controller import PERIOD_S, ScalingController
from mythjobs.agent.scaling.counters import JobKey
from tests.simulation.scaling.machine import SimulatedJob, SimulatedMachine

_TIMEOUT_S: Final = 50_000.0


class RunResult(NamedTuple):
    """late: share of the time of paced foreign streams with less than 90 % of their throughput.
    least_active: lowest number of jobs that ran while any existed."""

    makespan_s: float
    kills: int
    freezes: int
    late: float
    least_active: int


def run_fixed(
    machine: SimulatedMachine, jobs: Sequence[SimulatedJob], count: int, limit_s: float = _TIMEOUT_S
) -> RunResult:
    """Run the jobs first in, first out, `count` at a time, for at most `limit_s`."""  # fmt: skip
    waiting = deque(enumerate(jobs, 1))
    by_key = dict(waiting)
    while (waiting or machine.running) and machine.now_s < limit_s:
        while waiting and len(machine.running) < count:
            number, job = waiting.popleft()
            machine.start((number, 1), job)
        for key, _, _, has_succeeded in machine.run(machine.now_s + PERIOD_S):
            if not has_succeeded:
                waiting.append((key[0], by_key[key[0]]))
    return _result(machine, 0)


def run_controlled(
    machine: SimulatedMachine,
    jobs: Sequence[SimulatedJob],
    controller: ScalingController,
    on_period: Callable[[], None] = lambda: None,
) -> RunResult:
    """Run the jobs as the controller admits them: in order, and later ones before those that do not
    fit."""
    waiting: dict[str, deque[tuple[int, SimulatedJob]]] = {}
    for number, job in enumerate(jobs, 1):
        waiting.setdefault(job.command, deque()).append((number, job))
    by_number = dict(enumerate(jobs, 1))
    freezes = 0
    next_step_s = 0.0
    while any(waiting.values()) or machine.running:
        assert machine.now_s < _TIMEOUT_S, "the jobs do not end"
        if machine.now_s >= next_step_s - 1e-6:
            queued = [command for command, left in waiting.items() if left]
            for change in controller.step(machine.counters(), queued, machine.now_s):
                machine.running[change.key].is_frozen = change.on
                freezes += change.on
            next_step_s = machine.now_s + PERIOD_S
            on_period()
        _start_waiting(machine, waiting, controller)
        for key, used, wall_s, has_succeeded in machine.run(next_step_s):
            controller.remove_job(key, used, wall_s, has_succeeded=has_succeeded)
            for change in controller.thaw_if_idle(machine.now_s):
                machine.running[change.key].is_frozen = change.on
            if not has_succeeded:
                job = by_number[key[0]]
                waiting[job.command].appendleft((key[0], job))
    return _result(machine, freezes)


def _start_waiting(
    machine: SimulatedMachine,
    waiting: dict[str, deque[tuple[int, SimulatedJob]]],
    controller: ScalingController,
) -> None:
    while True:
        queued = [(left[0][0], command) for command, left in waiting.items() if left]
        for _, command in sorted(queued):
            if controller.find_refusal(command) is None:
                number, job = waiting[command].popleft()
                key: JobKey = (number, 1)
                controller.add_job(key, command, machine.now_s)
                machine.start(key, job)
                break
        else:
            return


def _result(machine: SimulatedMachine, freezes: int) -> RunResult:
    late = machine.late_s / machine.paced_s if machine.paced_s else 0.0
    return RunResult(machine.now_s, machine.kills, freezes, late, machine.least_active)
