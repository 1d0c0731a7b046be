"""Visibility of jobs' input files: which machines cannot read them, as they have reported.

A machine checks the inputs of a job before it starts it, and returns the job if it cannot read one.
It then gets no job with an input at or below that path for a while.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Final

from mythjobs.master.placement.cache import HiddenPath
from mythjobs.master.state import Machine, MasterState
from mythjobs.master.turn_context import TurnContext
from mythjobs.model.command import RUN, Command
from mythjobs.model.path_map import is_below, translate_path
from mythjobs.scheduler.blocked import NOT_VISIBLE
from mythjobs.store.writes import deferred_jobs, readiness

_FIRST_HOLD_MS: Final = 60_000
_MAX_HOLD_MS: Final = 1_800_000
_MAX_PATHS: Final = 1000
_MAX_RELEASED: Final = 1000


def record_hidden(state: MasterState, machine: Machine, path: str, now_ms: int) -> None:
    """Remember that a path cannot be read on a machine. Each time the machine says so again, it is
    not tried for twice as long, up to half an hour."""
    known = state.placement.hidden_paths.get(machine.machine_id, {})
    # What could be tried again for long says nothing: the path was visible since, or not needed.
    kept = {
        each: hidden for each, hidden in known.items() if now_ms - hidden.until_ms < hidden.hold_ms
    }
    before = kept.get(path)
    hold_ms = min(2 * before.hold_ms, _MAX_HOLD_MS) if before else _FIRST_HOLD_MS
    if before or len(kept) < _MAX_PATHS:
        kept[path] = HiddenPath(now_ms + hold_ms, hold_ms)
    state.placement.hidden_paths[machine.machine_id] = kept


def forget_hidden(turn: TurnContext, machine: Machine) -> None:
    """Try a machine's hidden paths again: its settings have changed, or it has connected."""
    if turn.state.placement.hidden_paths.pop(machine.machine_id, None) is None:
        return
    now_ms = turn.now.wall_ms
    until_ms = now_ms + _MAX_HOLD_MS
    if deferred_jobs.make_due(turn.tx, NOT_VISIBLE, now_ms, until_ms, _MAX_RELEASED):
        turn.state.schedule_turn(now_ms)
    turn.recheck(readiness.read_ready_classes(turn.tx))


def read_inputs(command: Command, arguments: str) -> list[str]:
    """Return the paths that a machine must be able to read before it starts a job."""
    names = [] if command.name == RUN else command.input_names
    if not names:
        return []
    values: dict[str, str] = json.loads(arguments)
    return [values[name] for name in names if values.get(name)]


def find_hidden(
    state: MasterState, machine: Machine, inputs: Sequence[str], now_ms: int
) -> tuple[str, int] | None:
    """Return the first input that a machine cannot read, as the submitter named it, and when it is
    tried again (ms); None if all are visible as far as known."""
    known = state.placement.hidden_paths.get(machine.machine_id)
    if not known:
        return None
    for path in inputs:
        here = translate_path(path, machine.policy.paths)
        for hidden, (until_ms, hold_ms) in known.items():
            # A clock that was set back does not prolong the time.
            if 0 < until_ms - now_ms <= hold_ms and is_below(here, hidden):
                return path, until_ms
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
