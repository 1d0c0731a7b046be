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
from mythjobs.cli.asking import agree, yes_option
from mythjobs.cli.paths import absolute, current_directory
from mythjobs.cli.session import Session, as_json, command, pass_session
from mythjobs.cli.texts import clean
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
@as_json
@pass_session
def restore(session: Session, file: str | None, in_place: bool, yes: bool, as_json: bool) -> None:
    """Go back to a backup of the store, while no master runs.

    The store that is there is kept beside it. Jobs that were not over when the backup was made
    are held, for they may have run since; `mythjobs release` lets them run. New jobs and attempts
    get numbers that nobody had.
    """
    from mythjobs.config import locks
    from mythjobs.config.settings import store_of
    from mythjobs.config.state import open_state

    if (file is None) == (not in_place):
        raise BadRequest("name the backup, or give --in-place for a store that was put back")
    state = open_state(session.state_dir, create=file is not None)
    where = store_of(state, None, os.environ)
    if file is None and isinstance(where, Path) and not where.exists():
        raise BadRequest(f"there is no store {where}; name the backup")
    with locks.hold(state.master_lock, "a master"):
        if file is None:
            begun, aside = _here(where, yes), None
        elif isinstance(where, Path):
            begun, aside = _from(Path(absolute(file, current_directory())), where, yes)
        else:
            raise BadRequest(
                "a store in PostgreSQL is put back with pg_restore or psql; then give --in-place"
            )
    if as_json:
        kept = None if aside is None else str(aside)
        terminal.say_json({"held": begun.held, "next_job": begun.next_job_id, "kept": kept})
        return
    if aside is not None:
        terminal.say(clean(f"the store that was there is kept as {aside}"))
    jobs = "1 job is" if begun.held == 1 else f"{begun.held or 'no'} jobs are"
    terminal.say(f"{jobs} held; the next new job is number {begun.next_job_id}")


def _here(where: str | Path, yes: bool) -> RestoreResult:
    agree("jobs that are not over are held, and numbers rise", yes)
    return _begin_again(where, None)


def _from(backup: Path, target: Path, yes: bool) -> tuple[RestoreResult, Path | None]:
    from mythjobs.store.backends import restore as files

    aside = _free_name(target)
    with files.stage_backup(backup, target) as part:
        with files.open_replaced_store(target) as used:
            begun = _begin_again(part, used)
        if used is None and target.exists():
            terminal.note(
                f"{target} cannot be read, or did not end by itself; numbers rise by as much as it "
                "may have given"
            )
        agree(f"{target} is replaced by {backup}", yes)
        there = files.install_backup(part, target, aside)
    return begun, aside if there else None


def _free_name(target: Path) -> Path:
    name = f"{target.name}.{time.strftime('%Y%m%d-%H%M%S')}"
    names = chain([name], (f"{name}-{number}" for number in count(2)))
    return next(each for each in map(target.with_name, names) if not each.exists())


def _begin_again(where: str | Path, used: RestoredIds | None) -> RestoreResult:
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
