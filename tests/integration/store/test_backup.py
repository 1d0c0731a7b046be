"""Backup of a SQLite store while it is in use."""

from __future__ import annotations

from pathlib import Path

import pytest

from mythjobs.errors import BadRequest, StateNotWritable
from mythjobs.store.backends.backup import back_up
from mythjobs.store.invariants.run import check
from mythjobs.store.open import open_store
from tests.support import queue as q


def test_a_backup_during_a_transaction_has_the_committed_data(tmp_path: Path) -> None:
    store = open_store(tmp_path / "store.db", unsafe=True)
    with store.transaction() as tx:
        q.enrol_machines(tx)
        q.run(tx, q.queue_job(tx))
    with store.transaction() as tx:
        q.queue_job(tx)
        size = back_up(tmp_path / "store.db", tmp_path / "copy.db")
    store.close()
    assert size == (tmp_path / "copy.db").stat().st_size > 0
    assert sorted(each.name for each in tmp_path.iterdir() if "copy" in each.name) == ["copy.db"]
    copy = open_store(tmp_path / "copy.db", unsafe=True)
    with copy.transaction() as tx:
        assert check(tx) == []
        # The second job was not committed, so its id is free.
        assert q.queue_job(tx) == 2
    copy.close()


def test_a_backup_overwrites_no_file(tmp_path: Path) -> None:
    open_store(tmp_path / "store.db", unsafe=True).close()
    (tmp_path / "copy.db").write_text("mine")
    with pytest.raises(BadRequest, match="already exists"):
        back_up(tmp_path / "store.db", tmp_path / "copy.db")
    assert (tmp_path / "copy.db").read_text() == "mine"


def test_a_missing_directory_is_reported(tmp_path: Path) -> None:
    open_store(tmp_path / "store.db", unsafe=True).close()
    with pytest.raises(StateNotWritable, match="cannot write"):
        back_up(tmp_path / "store.db", tmp_path / "nowhere" / "copy.db")


def test_a_backup_of_a_missing_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="there is no store"):
        back_up(tmp_path / "store.db", tmp_path / "copy.db")
    assert list(tmp_path.iterdir()) == []


def test_a_backup_of_a_postgresql_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="pg_dump"):
        back_up("postgresql://host/jobs", tmp_path / "copy.db")
