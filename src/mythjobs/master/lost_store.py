"""Start with an empty store in a state directory that was used with another one: it was deleted, or
the setting names another database. Or with a store whose write-ahead log was damaged: SQLite reads
it up to the first frame that is not intact, as it cannot tell a damaged frame from the end.

Machines and the output spool still know the job ids of the other store, so these are skipped.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

from mythjobs.config.state import StateDir
from mythjobs.store.open import Store
from mythjobs.store.transaction import Transaction
from mythjobs.store.writes import id_recovery, jobs

log = logging.getLogger(__name__)


def has_other_store(state: StateDir, store: str | Path) -> bool:
    """Return whether the state directory has traces of a store, which may be this one.

    Call this before the store is opened, which creates its files.
    """
    is_missing = isinstance(store, Path) and not store.exists()
    # The reserve stays if only the database was deleted. Output does if all its files were.
    if is_missing and Path(f"{store}-reserve").exists():
        return True
    try:
        return any(state.output.iterdir())
    except OSError:
        return False


def skip_ids_of_other_store(store: Store, name: str, output: Path) -> str:
    """If a store has never had a job, or fewer than the spool in `output`, skip job ids; return a
    warning for users, else "".

    Call this if has_other_store() returned True. name: of the store. Raises the store's errors.
    """
    last_id = _find_last_job(output)
    with store.snapshot() as tx:
        next_id = jobs.read_next_id(tx)
    if next_id == 1:
        next_id, _ = store.run_transaction(lambda tx: id_recovery.raise_ids(tx, None))
        warning = (
            f"the store {name} is new, but this state directory was used with another store. If "
            "that was lost, stop the master and restore a backup with `mythjobs restore FILE`. Ids "
            f"of jobs begin at {next_id}, so that no id is used twice"
        )
    elif last_id >= next_id:
        warning = _recover(store, name, last_id, next_id)
    else:
        return ""
    log.warning("%s", warning)
    return warning


def _recover(store: Store, name: str, last_id: int, old_id: int) -> str:
    """Skip job ids and hold queued jobs: they may have run after the store's last known change."""

    def body(tx: Transaction) -> int:
        id_recovery.hold_queued(tx, "held because the store has lost its last changes")
        return id_recovery.raise_ids(tx, None)

    next_id, _ = store.run_transaction(body)
    return (
        f"the store {name} has lost its last changes: there is output of job {last_id}, but the "
        f"last job in the store is {old_id - 1}. Check the disk. Queued jobs are held, as they may "
        "have run since: release them with `mythjobs release`. Ids of jobs go on at "
        f"{next_id}, so that no id is used twice"
    )


def _find_last_job(output: Path) -> int:
    """Return the highest id of a job with output in the spool, 0 if there is none."""
    for directory in sorted(_list_numbers(output), reverse=True):
        if found := _list_numbers(output / str(directory)):
            return max(found)
    return 0


def _list_numbers(directory: Path) -> set[int]:
    """Return the numbers with which the names in a directory begin."""
    try:
        names = [each.partition(".")[0] for each in os.listdir(directory)]
    except OSError:
        return set()
    return {int(each) for each in names if each.isascii() and each.isdigit()}
