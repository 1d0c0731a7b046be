"""Visibility of jobs' input files: which machines cannot read them, as they have reported.

A machine checks the inputs of a job before it starts it, and returns the job if it cannot read one.
It then gets no job with an input at or below that path for a while.
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from mythjobs.master.machine import Machine
from mythjobs.master.placement.cache import HiddenPath
from mythjobs.master.state import MasterState
from mythjobs.master.turn_context import TurnContext
from mythjobs.model.command import RUN, Command
from mythjobs.model.path_map import is_below, translate_path
from mythjobs.scheduler.blocked import NOT_VISIBLE
from mythjobs.store.writes import deferred_jobs, readiness

_FIRST_HOLD_MS: Final = 60_000
_MAX_HOLD_MS: Final = 1_800_000
# A job whose paths no machine accepts is tried again after this time.
_OUTSIDE_HOLD_MS: Final = 300_000
_MAX_PATHS: Final = 1000
_MAX_RELEASED: Final = 1000


def record_hidden(state: MasterState, machine: Machine, path: str, now_ms: int) -> None:
    """Remember that a machine cannot read a path. Each further report by the machine doubles the
    time for which the path is not tried there, up to half an hour."""
    known = state.placement.hidden_paths.get(machine.machine_id, {})
    # Forget a path whose retry has been due for as long as it was held back: no machine has found
    # it hidden since.
    kept = {
        each: hidden for each, hidden in known.items() if now_ms - hidden.until_ms < hidden.hold_ms
    }
    before = kept.get(path)
    hold_ms = min(2 * before.hold_ms, _MAX_HOLD_MS) if before else _FIRST_HOLD_MS
    if before or len(kept) < _MAX_PATHS:
        kept[path] = HiddenPath(now_ms + hold_ms, hold_ms)
    state.placement.hidden_paths[machine.machine_id] = kept


def forget_hidden(turn: TurnContext, machine: Machine) -> None:
    """Try a machine's hidden paths again, and the jobs that wait for a machine that can read their
    files: its settings have changed, or it has connected."""
    if not are_paths_limited(turn.state):
        return
    turn.state.placement.hidden_paths.pop(machine.machine_id, None)
    now_ms = turn.now.wall_ms
    until_ms = now_ms + _MAX_HOLD_MS
    if deferred_jobs.make_due(turn.tx, NOT_VISIBLE, now_ms, until_ms, _MAX_RELEASED):
        turn.state.schedule_turn(now_ms)
    turn.recheck(readiness.read_ready_classes(turn.tx))


class JobPaths(NamedTuple):
    """Paths of a job, as its submitter named them: those that a machine must be able to read before
    it starts the job, and all of which mythjobs knows that they are paths."""

    inputs: Sequence[str] = ()
    all: Sequence[str] = ()


NO_PATHS: Final = JobPaths()


def read_paths(command: Command, arguments: str) -> JobPaths:
    if command.name == RUN:
        cwd: str = json.loads(arguments)["cwd"]
        return JobPaths((), () if cwd == "/" else (cwd,))
    names = command.path_names
    if not names:
        return NO_PATHS
    values: dict[str, str] = json.loads(arguments)
    inputs, paths = (
        [values[name] for name in some if values.get(name)] for some in (command.input_names, names)
    )
    return JobPaths(inputs, paths)


def are_paths_limited(state: MasterState) -> bool:
    """Return whether a machine cannot read some path, or accepts some directories only."""
    machines = state.machines.values()
    return bool(state.placement.hidden_paths) or any(each.own.roots for each in machines)


def find_hidden(
    state: MasterState, machine: Machine, paths: JobPaths, now_ms: int
) -> tuple[str, int] | None:
    """Return why a machine cannot start a job because of one of its paths, as the submitter named
    it, and when it is tried again (ms); None if it can as far as known."""
    if roots := machine.own.roots:
        for path in paths.all:
            here = posixpath.normpath(translate_path(path, machine.policy.paths))
            if not any(is_below(here, root) for root in roots):
                why = f"does not accept {path}, which is outside the roots of its own policy"
                return why, now_ms + _OUTSIDE_HOLD_MS
    known = state.placement.hidden_paths.get(machine.machine_id)
    if not known:
        return None
    for path in paths.inputs:
        here = translate_path(path, machine.policy.paths)
        for hidden, (until_ms, hold_ms) in known.items():
            # A clock that was set back does not prolong the time.
            if 0 < until_ms - now_ms <= hold_ms and is_below(here, hidden):
                return f"cannot read {path}", until_ms
    return None


def defer_hidden(
    turn: TurnContext, job_ids: Mapping[int, int], sentences: Mapping[int, str]
) -> None:
    """Let jobs wait whose inputs no permitted machine can read. job_ids: by job, until when."""
    rows = [(job_id, until_ms, sentences[job_id]) for job_id, until_ms in job_ids.items()]
    deferred_jobs.defer(turn.tx, NOT_VISIBLE, rows)
    turn.recheck(readiness.refresh(turn.tx, list(job_ids)))
    for until_ms in set(job_ids.values()):
        turn.state.schedule_turn(until_ms)
