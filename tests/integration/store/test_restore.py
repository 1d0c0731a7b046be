"""Restore of a SQLite store from a backup, and the ids that follow."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from mythjobs.errors import BadRequest
from mythjobs.store.backends.backup import back_up
from mythjobs.store.backends.restore import install_backup, open_replaced_store, stage_backup
from mythjobs.store.invariants.run import check
from mythjobs.store.open import Store, open_store
from mythjobs.store.writes import id_recovery, jobs
from tests.support import queue as q


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """Return the path of a store with one ended job."""
    store = open_store(tmp_path / "store.db", unsafe=True)
    with store.transaction() as tx:
        q.enrol_machines(tx)
        q.run(tx, q.queue_job(tx))
    store.close()
    return tmp_path / "store.db"


@pytest.fixture
def backup(target: Path) -> Path:
    back_up(target, target.with_name("backup.db"))
    return target.with_name("backup.db")


def _next_id(path: Path) -> int:
    store = open_store(path, unsafe=True)
    with store.snapshot() as tx:
        found = jobs.read_next_id(tx)
    store.close()
    return found


def _add_a_job(path: Path) -> None:
    store = open_store(path, unsafe=True)
    with store.transaction() as tx:
        q.queue_job(tx)
    store.close()


def test_a_restore_installs_the_backup_and_keeps_the_old_store(target: Path, backup: Path) -> None:
    _add_a_job(target)
    aside = target.with_name("aside.db")
    with stage_backup(backup, target) as part:
        assert part.stat().st_mode & 0o777 == 0o600
        assert install_backup(part, target, aside)
    names = sorted(each.name for each in target.parent.iterdir() if each.suffix == ".db")
    assert names == ["aside.db", "backup.db", "store.db"]
    assert (_next_id(target), _next_id(aside)) == (2, 3)


def test_ids_of_a_store_that_was_not_closed_cleanly_are_unknown(target: Path, backup: Path) -> None:
    killed = sqlite3.connect(target, isolation_level=None)
    killed.execute("PRAGMA wal_autocheckpoint = 0")
    killed.execute("UPDATE meta SET value = '77' WHERE name = 'next_job_id'")
    aside = target.with_name("aside.db")
    with stage_backup(backup, target) as part:
        with open_replaced_store(target) as used:
            assert used is None
        install_backup(part, target, aside)
    killed.close()
    # The write-ahead log is kept with the store.
    assert (_next_id(target), _next_id(aside)) == (2, 77)


def test_an_unreadable_store_is_kept_too(target: Path, backup: Path) -> None:
    target.write_bytes(b"nonsense" * 1000)
    Path(f"{target}-wal").write_bytes(b"more of it")
    aside = target.with_name("aside.db")
    with stage_backup(backup, target) as part:
        with open_replaced_store(target) as used:
            assert used is None
        install_backup(part, target, aside)
    assert _next_id(target) == 2
    assert aside.read_bytes() == b"nonsense" * 1000
    assert Path(f"{aside}-wal").read_bytes() == b"more of it"


def test_a_backup_is_installed_where_there_was_no_store(
    target: Path, backup: Path, tmp_path: Path
) -> None:
    new = tmp_path / "new" / "store.db"
    new.parent.mkdir()
    with open_replaced_store(new) as used:
        assert used is None
    with stage_backup(backup, new) as part:
        assert not install_backup(part, new, new.with_name("aside.db"))
    assert sorted(each.name for each in new.parent.iterdir()) == ["store.db"]
    assert _next_id(new) == 2


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "is not a backup of a mythjobs store"),
        (b"name = 'true'\n", "is not a store, or is damaged"),
    ],
)
def test_a_file_that_is_not_a_backup_is_refused(target: Path, content: bytes, message: str) -> None:
    other = target.with_name("other")
    other.write_bytes(content)
    before = target.read_bytes()
    with pytest.raises(BadRequest, match=message), stage_backup(other, target):
        pass
    assert target.read_bytes() == before
    assert not list(target.parent.glob(".store.db.part*"))


def test_a_damaged_backup_is_refused(target: Path, backup: Path) -> None:
    with closing(sqlite3.connect(backup)) as connection:
        [pages] = connection.execute("PRAGMA page_count").fetchone()
    with backup.open("r+b") as file:
        file.seek(4096 * (pages // 2))
        file.write(b"\xff" * 4096 * (pages // 4))
    with pytest.raises(BadRequest, match="damaged"), stage_backup(backup, target):
        pass


def test_ids_rise_above_those_of_the_replaced_store(store: Store, tmp_path: Path) -> None:
    later = open_store(tmp_path / "later.db", unsafe=True)
    with later.transaction() as tx:
        q.enrol_machines(tx)
        q.queue_jobs(tx, 4)
        q.run(tx, 2)
    with store.transaction() as tx:
        q.queue_jobs(tx, 3)
    with later.snapshot() as old, store.transaction() as tx:
        assert id_recovery.raise_ids(tx, id_recovery.read_restored_ids(old)) == 5
        assert [q.read_column(tx, each, "attempts") for each in (1, 2, 3)] == [0, 1, 0]
        assert jobs.read_next_id(tx) == 5
    later.close()
    with store.snapshot() as tx:
        assert check(tx) == []


def test_ids_are_skipped_if_those_of_the_replaced_store_are_unknown(store: Store) -> None:
    with store.transaction() as tx:
        q.enrol_machines(tx)
        done, waiting = q.queue_jobs(tx, 2)
        q.run(tx, done)
        assert id_recovery.hold_queued(tx, "held: who knows") == 1
        assert id_recovery.raise_ids(tx, None) == 2 * id_recovery.JOB_IDS_SKIPPED
        assert q.read_column(tx, done, "attempts") == 1
        assert q.read_column(tx, waiting, "attempts") == id_recovery.ATTEMPTS_SKIPPED
        assert not q.is_ready(tx, waiting)
    with store.snapshot() as tx:
        assert check(tx) == []
