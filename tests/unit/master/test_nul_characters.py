"""NUL characters, which PostgreSQL cannot store: rejected from users, replaced from machines."""

from __future__ import annotations

import pytest

from mythjobs.errors import BadRequest
from mythjobs.model import outcome as o
from mythjobs.protocol import messages as m
from tests.unit.master.harness import Harness


@pytest.mark.parametrize("field", ["key", "comment", "subject"])
def test_a_submit_with_a_nul_is_rejected(master: Harness, field: str) -> None:
    master.define()
    with pytest.raises(BadRequest, match="must not have a NUL character"):
        master.submit(**{field: "a\0b"})
    assert master.submit(**{field: "a b"}).id == 1


def test_a_nul_in_a_progress_comment_is_replaced(master: Harness) -> None:
    master.define()
    attic = master.join("attic")
    master.submit()
    master.send_frame(
        attic, m.Started(1, 1, master.now.wall_ms), m.Progress(1, 1, 50.0, "pass\0two")
    )
    with master.store.snapshot() as tx:
        tx.cursor.execute("SELECT comment FROM job")
        assert tx.cursor.fetchall() == [("pass�two",)]


def test_a_nul_in_an_outcome_is_replaced() -> None:
    assert o.from_json({"kind": "lost", "why": "a\0b"}) == o.Lost("a�b")
