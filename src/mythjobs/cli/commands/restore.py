"""`mythjobs restore`: replace the store by a backup; ids are never reused afterwards."""

from __future__ import annotations

import os
import time
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mythjobs import clock
from mythjobs.cli import terminal
from mythjobs.cli.paths import resolve_path
from mythjobs.cli.session import Session, command, json_option, pass_session, yes_option
from mythjobs.cli.terminal import confirm
from mythjobs.errors import BadRequest

if TYPE_CHECKING:
    from mythjobs.master.attempts.restore import RestoreResult
    from mythjobs.store.writes.id_recovery import RestoredIds


@command(
    "restore",
    epilog="Examples:\n  mythjobs restore /srv/backup/mythjobs-2026-11-20.db\n"
    "  mythjobs jobs --state queued; mythjobs release 17 18",
)
@click.argument("file", type=click.Path(), required=False)
@click.option(
    "--in-place",
    is_flag=True,
    help="The store was restored by other means, like pg_restore or a disk snapshot.",
)
@yes_option
@json_option
@pass_session
def restore(session: Session, file: str | None, in_place: bool, yes: bool, as_json: bool) -> None:
    """Restore the store from a backup, while no master runs.

    The present store is kept under another name. Jobs that had not ended when the backup was made
    are held, because they may have run since; release them with `mythjobs release`. Ids of jobs
    and attempt numbers are never reused.
    """
    from mythjobs.config import locks
    from mythjobs.config.settings import choose_store
    from mythjobs.config.state import open_state

    if (file is None) == (not in_place):
        raise BadRequest("name the backup, or give --in-place for a store restored by other means")
    backup = "" if file is None else resolve_path(file, "backup")
    state = open_state(session.state_dir, create=file is not None)
    where = choose_store(state, None, os.environ)
    if file is None and isinstance(where, Path) and not where.exists():
        raise BadRequest(f"there is no store {where}; name the backup")
    with locks.acquire(state.master_lock, "a master"):
        if file is None:
            result, aside = _restore_in_place(where, yes), None
        elif isinstance(where, Path):
            result, aside = _restore_from(Path(backup), where, yes)
        else:
            raise BadRequest(
                "restore a PostgreSQL store with pg_restore or psql; then give --in-place"
            )
    if as_json:
        kept = None if aside is None else str(aside)
        terminal.print_json({"held": result.held, "next_job": result.next_job_id, "kept": kept})
        return
    if aside is not None:
        terminal.print_line(f"the previous store is kept as {aside}")
    jobs = "1 job is" if result.held == 1 else f"{result.held or 'no'} jobs are"
    terminal.print_line(f"{jobs} held; the next job id is {result.next_job_id}")


def _restore_in_place(where: str | Path, yes: bool) -> RestoreResult:
    confirm("hold all jobs that have not ended, and skip ids that may be in use", yes)
    return _prepare_store(where, None)


def _restore_from(backup: Path, target: Path, yes: bool) -> tuple[RestoreResult, Path | None]:
    from mythjobs.store.backends import restore as files

    aside = _choose_free_name(target)
    with files.stage_backup(backup, target) as part:
        with files.open_replaced_store(target) as used:
            result = _prepare_store(part, used)
        if used is None and target.exists():
            terminal.print_message(
                f"{target} cannot be read or was not closed cleanly; ids that it may have given "
                "are skipped"
            )
        confirm(f"replace {target} by {backup}", yes)
        has_previous = files.install_backup(part, target, aside)
    return result, aside if has_previous else None


def _choose_free_name(target: Path) -> Path:
    name = f"{target.name}.{time.strftime('%Y%m%d-%H%M%S')}"
    names = chain([name], (f"{name}-{number}" for number in count(2)))
    return next(each for each in map(target.with_name, names) if not each.exists())


def _prepare_store(where: str | Path, used: RestoredIds | None) -> RestoreResult:
    from mythjobs.config.time_zone import find_time_zone
    from mythjobs.master.attempts.restore import prepare_restored_store
    from mythjobs.store.open import open_store

    store, zone = open_store(where), find_time_zone(os.environ)
    try:
        result, _ = store.run_transaction(
            lambda tx: prepare_restored_store(tx, clock.master_now(), used, zone)
        )
    finally:
        store.close()
    return result
