"""Text that not every store can hold never reaches it: people are told, machines are forgiven."""

from __future__ import annotations

import pytest

from mythjobs.errors import BadRequest
from mythjobs.model import outcome as o
from mythjobs.protocol import messages as m
from tests.unit.master.house import House


@pytest.mark.parametrize("field", ["key", "comment", "subject"])
def test_a_submit_with_a_nul_in_it_is_refused(house: House, field: str) -> None:
    house.define()
    with pytest.raises(BadRequest, match="must not have a NUL character"):
        house.submit(**{field: "a\0b"})
    assert house.submit(**{field: "a b"}).id == 1


def test_a_job_that_tells_a_nul_as_its_comment_is_heard_without_it(house: House) -> None:
    house.define()
    attic = house.join("attic")
    house.submit()
    house.hear(attic, m.Started(1, 1, house.now.wall_ms), m.Progress(1, 1, 50.0, "pass\0two"))
    with house.store.reading() as tx:
        tx.cursor.execute("SELECT comment FROM job")
        assert tx.cursor.fetchall() == [("pass�two",)]


def test_an_outcome_with_a_nul_in_its_words_is_one_all_the_same() -> None:
    assert o.from_json({"kind": "lost", "why": "a\0b"}) == o.Lost("a�b")
