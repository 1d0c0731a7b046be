"""Mutants of what happens while jobs run or after their end: changes of settings, batches, pauses,
dead machines, the reaper's journal, the disk of the store, retention, and schedules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import msgspec
from sqlalchemy import exists, func, select

from mythjobs.agent.core.leases import LeaseEnforcer
from mythjobs.master import catalog, requests, schedule_state
from mythjobs.master import core as master_core
from mythjobs.master.attempts import completion
from mythjobs.master.placement import fit_cache
from mythjobs.master.schedules import handlers, tick_log
from mythjobs.model import retention
from mythjobs.model.schedule import schedule_from_table
from mythjobs.process.reaper import messages
from mythjobs.store import tables as t
from mythjobs.store.backends import sqlite
from mythjobs.store.expressions import in_list, param
from mythjobs.store.queries import retention as queries
from mythjobs.store.statement import Statement
from mythjobs.store.writes import batches, commands, dependencies, prune

Patch = tuple[Any, str, Any]
job = t.job


def _with_handler(kind: type[requests.Request], make: Callable[[Any], Any]) -> list[Patch]:
    """Replace the handler of a request by `make` of it."""
    handlers = master_core._HANDLERS
    return [(master_core, "_HANDLERS", handlers | {kind: make(handlers[kind])})]


# Changes.


def _settings_cached() -> list[Patch]:
    """A change of a machine's settings does not apply to job classes that were placed before."""
    return [
        (fit_cache, "_policy_snapshot", lambda _, machine: (machine.name, machine.capabilities))
    ]


def _semaphore_size_cached() -> list[Patch]:
    """A new size of a semaphore applies only after a restart of the master."""

    def make(handle: Any) -> Any:
        def keep_size(turn: Any, request: Any) -> Any:
            sizes = turn.state.placement.semaphore_sizes
            before = sizes.get(request.name)
            response = handle(turn, request)
            if before is not None:
                sizes[request.name] = before
            return response

        return keep_size

    return _with_handler(requests.SetSemaphore, make)


def _revision_replaced() -> list[Patch]:
    """A new definition of a command applies to jobs that were submitted before."""
    find_by_revision = commands.find_by_revision

    def find_current(tx: Any, revision_id: int) -> Any:
        found = find_by_revision(tx, revision_id)
        if found is None:
            return None
        name = commands.read_names(tx)[found.command_id]
        return commands.find_by_name(tx, name)

    return [
        (commands, "find_by_revision", find_current),
        (catalog.Catalog, "forget_command", lambda self, _: self.clear()),
    ]


def _limits_not_changed() -> list[Patch]:
    """The agent ignores new limits of a running job."""
    return [(LeaseEnforcer, "change_limits", lambda *_: None)]


def _paused_job_runs_again() -> list[Patch]:
    """A job that was paused when it was lost is not held."""
    return [(completion, "hold_paused", lambda decision: decision)]


def _batch_opened_early() -> list[Patch]:
    """The first slice of a batch opens it."""

    def make(handle: Any) -> Any:
        return lambda turn, request: handle(turn, msgspec.structs.replace(request, last=True))

    return _with_handler(requests.BatchSlice, make)


def _unopened_batch_kept() -> list[Patch]:
    """A batch whose submit was not completed stays in the store."""
    return [(batches, "drop_unopened", lambda *_: None)]


def _dead_machine_keeps_jobs() -> list[Patch]:
    """The jobs of a machine that is declared dead wait for it."""
    return _with_handler(requests.DeclareDead, lambda _: lambda *_: [])


def _start_not_journaled() -> list[Patch]:
    """The reaper keeps no record of a program that it starts."""
    names = ("encode_start_record", "encode_pid_record")
    return [(messages, name, lambda _: "{}") for name in names]


# The disk of the store.


def _commits_not_synced() -> list[Patch]:
    """A commit is acknowledged before it is on the disk."""
    connect = sqlite._connect

    def connect_without_sync(path: Any) -> Any:
        connection = connect(path)
        connection.execute("PRAGMA synchronous = OFF")
        return connection

    return [(sqlite, "_connect", connect_without_sync)]


# Retention.


def _with_deletable(condition: Any) -> list[Patch]:
    """Other jobs may be deleted."""
    found = Statement(select(job.c.job_id).where(in_list(job.c.job_id, "job_ids"), condition))
    return [(prune, "_FIND_DELETABLE", found), (queries, "_FIND_DELETABLE", found)]


def _without_condition(number: int) -> Callable[[], list[Patch]]:
    """Deletion ignores one of the conditions of IS_DELETABLE."""

    def patches() -> list[Patch]:
        kept = [each for no, each in enumerate(prune.IS_DELETABLE.clauses) if no != number]
        return _with_deletable(kept[0] & kept[1])

    return patches


def _open_jobs_deleted() -> list[Patch]:
    """Retention counts the age of a job from its submit, whether it has ended or not."""
    at_ms = func.coalesce(job.c.ended_ms, job.c.submitted_ms)
    find_old = Statement(
        select(job.c.job_id, at_ms, job.c.state)
        .where(
            job.c.command_id == param("command_id"),
            at_ms >= param("from_ms"),
            at_ms < param("before_ms"),
            job.c.job_id > param("after_job_id"),
        )
        .order_by(at_ms, job.c.job_id)
        .limit(param("limit"))
    )
    return [(queries, "_FIND_ENDED", find_old), *_with_deletable(~exists().where(job.c.job_id < 0))]


def _age_ignored() -> list[Patch]:
    """Retention deletes jobs however short ago they have ended."""
    return [(retention, "oldest_kept_ms", lambda _, now_ms: now_ms)]


def _count_ignored() -> list[Patch]:
    """Retention keeps no job of a command that limits their number."""
    return [(retention, "find_excess", lambda limit, found: 0 if limit in _UNLIMITED else found)]


_UNLIMITED: Final = (None, float("inf"))


def _states_ignored() -> list[Patch]:
    """A prune deletes jobs in other states than the given ones."""
    find_old_jobs = queries.find_old_jobs

    def find(tx: Any, command_id: int, before_ms: int, start: Any, limit: int, _: Any = ()) -> Any:
        return find_old_jobs(tx, command_id, before_ms, start, limit)

    return [(queries, "find_old_jobs", find)]


def _overlap_ignored() -> list[Patch]:
    """A tick of a schedule submits its job while that of an earlier tick runs."""

    def with_overlap(table: Any) -> Any:
        return replace(schedule_from_table(table), overlap="allow")

    return [(module, "schedule_from_table", with_overlap) for module in (schedule_state, handlers)]


def _missed_ticks_dropped() -> list[Patch]:
    """Ticks without a job leave no row."""
    return [(tick_log.TickLog, "add_without_job", lambda *_, **__: True)]


def _dependencies_not_passed_on() -> list[Patch]:
    """If a waiting job of a schedule is cancelled, the one after it waits no longer."""
    return [(dependencies, "pass_on", lambda *_: None)]


def _due_ticks_forgotten() -> list[Patch]:
    """An edit of a schedule begins at the present, whatever ticks are due."""
    return [(handlers, "evaluate_before_change", lambda _, state: state)]


CHANGE_MUTANTS: Final[dict[str, Callable[[], list[Patch]]]] = {
    "settings-cached": _settings_cached,
    "semaphore-size-cached": _semaphore_size_cached,
    "revision-replaced": _revision_replaced,
    "limits-not-changed": _limits_not_changed,
    "paused-job-runs-again": _paused_job_runs_again,
    "batch-opened-early": _batch_opened_early,
    "unopened-batch-kept": _unopened_batch_kept,
    "dead-machine-keeps-jobs": _dead_machine_keeps_jobs,
    "start-not-journaled": _start_not_journaled,
    "commits-not-synced": _commits_not_synced,
    "open-jobs-deleted": _open_jobs_deleted,
    "batch-split": _without_condition(1),
    "dependents-ignored": _without_condition(2),
    "age-ignored": _age_ignored,
    "count-ignored": _count_ignored,
    "states-ignored": _states_ignored,
    "overlap-ignored": _overlap_ignored,
    "missed-ticks-dropped": _missed_ticks_dropped,
    "dependencies-not-passed-on": _dependencies_not_passed_on,
    "due-ticks-forgotten": _due_ticks_forgotten,
}
