"""`mythjobs restore`: go back to a backup, without giving a number twice."""

from __future__ import annotations

import os
import time
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mythjobs import clock
from mythjobs.cli import terminal
from mythjobs.cli.asking import confirm, yes_option
from mythjobs.cli.paths import absolute_path, get_current_directory
from mythjobs.cli.session import Session, command, json_option, pass_session
from mythjobs.cli.texts import sanitize
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
    help="The store was put back already, by pg_restore or a snapshot of its disk.",
)
@yes_option
@json_option
@pass_session
def restore(session: Session, file: str | None, in_place: bool, yes: bool, as_json: bool) -> None:
    """Go back to a backup of the store, while no master runs.

    The store that is there is kept beside it. Jobs that were not over when the backup was made
    are held, for they may have run since; `mythjobs release` lets them run. New jobs and attempts
    get numbers that nobody had.
    """
    from mythjobs.config import locks
    from mythjobs.config.settings import choose_store
    from mythjobs.config.state import open_state

    if (file is None) == (not in_place):
        raise BadRequest("name the backup, or give --in-place for a store that was put back")
    state = open_state(session.state_dir, create=file is not None)
    where = choose_store(state, None, os.environ)
    if file is None and isinstance(where, Path) and not where.exists():
        raise BadRequest(f"there is no store {where}; name the backup")
    with locks.acquire(state.master_lock, "a master"):
        if file is None:
            begun, aside = _restore_in_place(where, yes), None
        elif isinstance(where, Path):
            begun, aside = _restore_from(
                Path(absolute_path(file, get_current_directory())), where, yes
            )
        else:
            raise BadRequest(
                "a store in PostgreSQL is put back with pg_restore or psql; then give --in-place"
            )
    if as_json:
        kept = None if aside is None else str(aside)
        terminal.print_json({"held": begun.held, "next_job": begun.next_job_id, "kept": kept})
        return
    if aside is not None:
        terminal.print_line(sanitize(f"the store that was there is kept as {aside}"))
    jobs = "1 job is" if begun.held == 1 else f"{begun.held or 'no'} jobs are"
    terminal.print_line(f"{jobs} held; the next new job is number {begun.next_job_id}")


def _restore_in_place(where: str | Path, yes: bool) -> RestoreResult:
    confirm("jobs that are not over are held, and numbers rise", yes)
    return _prepare_store(where, None)


def _restore_from(backup: Path, target: Path, yes: bool) -> tuple[RestoreResult, Path | None]:
    from mythjobs.store.backends import restore as files

    aside = _choose_free_name(target)
    with files.stage_backup(backup, target) as part:
        with files.open_replaced_store(target) as used:
            begun = _prepare_store(part, used)
        if used is None and target.exists():
            terminal.print_message(
                f"{target} cannot be read, or did not end by itself; numbers rise by as much as it "
                "may have given"
            )
        confirm(f"{target} is replaced by {backup}", yes)
        there = files.install_backup(part, target, aside)
    return begun, aside if there else None


def _choose_free_name(target: Path) -> Path:
    name = f"{target.name}.{time.strftime('%Y%m%d-%H%M%S')}"
    names = chain([name], (f"{name}-{number}" for number in count(2)))
    return next(each for each in map(target.with_name, names) if not each.exists())


def _prepare_store(where: str | Path, used: RestoredIds | None) -> RestoreResult:
    from mythjobs.master.attempts.restore import prepare_restored_store
    from mythjobs.store.open import open_store

    store = open_store(where)
    try:
        begun, _ = store.run_transaction(
            lambda tx: prepare_restored_store(tx, clock.master_now(), used)
        )
    finally:
        store.close()
    return begun
