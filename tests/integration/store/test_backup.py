"""A backup is a whole store of one instant, made while the store is in use."""

from __future__ import annotations

from pathlib import Path

import pytest

from mythjobs.errors import BadRequest, StateNotWritable
from mythjobs.store.backends.backup import back_up
from mythjobs.store.invariants.run import check
from mythjobs.store.open import open_store
from tests.support import queue as q


def test_a_copy_made_in_the_middle_of_a_turn_has_what_was_committed(tmp_path: Path) -> None:
    store = open_store(tmp_path / "store.db", unsafe=True)
    with store.transaction() as tx:
        q.machines_join(tx)
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
        # The second job was not committed, and its number was not given.
        assert q.queue_job(tx) == 2
    copy.close()


def test_nothing_is_written_over(tmp_path: Path) -> None:
    open_store(tmp_path / "store.db", unsafe=True).close()
    (tmp_path / "copy.db").write_text("mine")
    with pytest.raises(BadRequest, match="already exists"):
        back_up(tmp_path / "store.db", tmp_path / "copy.db")
    assert (tmp_path / "copy.db").read_text() == "mine"


def test_a_directory_that_is_not_there_is_said(tmp_path: Path) -> None:
    open_store(tmp_path / "store.db", unsafe=True).close()
    with pytest.raises(StateNotWritable, match="cannot write"):
        back_up(tmp_path / "store.db", tmp_path / "nowhere" / "copy.db")


def test_a_store_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="there is no store"):
        back_up(tmp_path / "store.db", tmp_path / "copy.db")
    assert list(tmp_path.iterdir()) == []


def test_a_database_has_a_program_of_its_own_for_that(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="pg_dump"):
        back_up("postgresql://host/jobs", tmp_path / "copy.db")
