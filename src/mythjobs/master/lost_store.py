"""Start with an empty store in a state directory that was used with another one: it was deleted, or
the setting names another database.

Machines and the output spool still know the job ids of the other store, so these are skipped.
"""

from __future__ import annotations

import logging
from pathlib import Path

from mythjobs.config.state import StateDir
from mythjobs.store.open import Store
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


def skip_ids_of_other_store(store: Store, name: str) -> str:
    """If a store has never had a job, skip job ids; return a warning for users, else "".

    Call this if has_other_store() returned True. name: of the store. Raises the store's errors.
    """
    with store.snapshot() as tx:
        if jobs.read_next_id(tx) != 1:
            return ""
    next_id, _ = store.run_transaction(lambda tx: id_recovery.raise_ids(tx, None))
    warning = (
        f"the store {name} is new, but this state directory was used with another store. If that "
        "was lost, stop the master and restore a backup with `mythjobs restore FILE`. Ids of jobs "
        f"begin at {next_id}, so that no id is used twice"
    )
    log.warning("%s", warning)
    return warning
