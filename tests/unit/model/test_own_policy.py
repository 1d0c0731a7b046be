"""The machine's own policy: what the file may say, and what each key limits."""

from __future__ import annotations

from typing import Any

import pytest

from mythjobs.errors import DefinitionError
from mythjobs.model.bounds import Bounds
from mythjobs.model.machine_policy import ALLOW_ALL, Rights
from mythjobs.model.own_policy import OwnPolicy, own_policy_from_table


def test_an_empty_file_limits_nothing() -> None:
    assert own_policy_from_table({}) == OwnPolicy(ALLOW_ALL, None, Bounds())


def test_every_key_is_read() -> None:
    table = {"allow": {"except": ["wipe"]}, "jobs": 3, "limits": {"wall": "1h", "nice": 10}}
    assert own_policy_from_table(table) == OwnPolicy(
        Rights("except", frozenset({"wipe"})), 3, Bounds(wall_s=3600.0, nice=10)
    )


@pytest.mark.parametrize(
    "table, key",
    [
        ({"windows": {}}, "windows"),
        ({"allow": "some"}, "allow"),
        ({"jobs": -1}, "jobs"),
        ({"jobs": True}, "jobs"),
        ({"limits": {"wall": "1 parsec"}}, "limits.wall"),
        ({"limits": {"speed": 1}}, "limits.speed"),
    ],
)
def test_a_mistake_is_named(table: dict[str, Any], key: str) -> None:
    with pytest.raises(DefinitionError, match=key):
        own_policy_from_table(table)


@pytest.mark.parametrize(
    "own, given, lower",
    [(None, None, None), (None, 2, 2), (3, None, 3), (3, 2, 2), (2, 3, 2), (0, 1, 0)],
)
def test_the_lower_ceiling_applies(own: int | None, given: int | None, lower: int | None) -> None:
    assert OwnPolicy(jobs=own).with_ceiling(given) == OwnPolicy(jobs=lower)
