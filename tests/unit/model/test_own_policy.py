"""The machine's own policy: what the file may say, and what each key limits."""

from __future__ import annotations

from typing import Any

import pytest

from mythjobs.errors import DefinitionError
from mythjobs.model.bounds import Bounds
from mythjobs.model.machine_policy import ALLOW_ALL, Rights
from mythjobs.model.own_policy import OwnPolicy, own_policy_from_table, own_policy_to_table
from mythjobs.model.policy_tables import Windows
from mythjobs.model.window import Hours


def test_an_empty_file_limits_nothing() -> None:
    assert own_policy_from_table({}) == OwnPolicy(ALLOW_ALL, None, Bounds())


def test_every_key_is_read() -> None:
    table = {
        "allow": {"except": ["wipe"]},
        "jobs": 3,
        "users": ["mythtv"],
        "roots": ["/srv/tv", "/"],
        "zone": "Europe/Berlin",
        "windows": {"open": ["22:00-06:00"], "closing": "freeze"},
        "limits": {"wall": "1h", "nice": 10},
    }
    own = own_policy_from_table(table)
    assert own == OwnPolicy(
        Rights("except", frozenset({"wipe"})),
        3,
        Bounds(wall_s=3600.0, nice=10),
        Windows(("22:00-06:00",), "freeze"),
        "Europe/Berlin",
        ("mythtv",),
        ("/srv/tv", "/"),
    )
    assert own_policy_to_table(own) == table
    assert own_policy_to_table(OwnPolicy()) == {}


def test_a_report_of_a_newer_agent_is_read_as_far_as_known() -> None:
    table = {"jobs": 1, "colour": "red", "zone": "Mars/Olympus"}
    assert own_policy_from_table(table, is_report=True) == OwnPolicy(jobs=1, zone="Mars/Olympus")


NIGHT = ("22:00-06:00",)
MASTERS = Hours((("08:00-20:00",), (), ()), "America/New_York", "terminate", 5.0)


@pytest.mark.parametrize(
    "own, given, limited",
    [
        (OwnPolicy(), None, None),
        (OwnPolicy(), MASTERS, MASTERS),
        (OwnPolicy(windows=Windows(NIGHT), zone="UTC"), None, Hours(((), (), (), NIGHT), "UTC")),
        (
            OwnPolicy(windows=Windows(NIGHT, "freeze", 9.0), zone="UTC"),
            MASTERS,
            Hours((("08:00-20:00",), (), (), NIGHT), "UTC", "freeze", 9.0),
        ),
        # A closing policy without windows replaces the master's.
        (OwnPolicy(windows=Windows(closing="finish")), MASTERS, MASTERS._replace(closing="finish")),
        # The master believes in windows that were removed from the file.
        (OwnPolicy(), MASTERS._replace(sets=(*MASTERS.sets, NIGHT)), MASTERS),
    ],
)
def test_own_windows_apply_beside_those_of_the_master(
    own: OwnPolicy, given: Hours | None, limited: Hours | None
) -> None:
    found = own.limit_hours(given)
    assert found == limited
    assert own.limit_hours(found) == limited


@pytest.mark.parametrize(
    "table, key",
    [
        ({"window": {}}, "window: unknown key"),
        ({"windows": {"open": ["22:00-22:00"]}}, "windows.open"),
        ({"zone": "Europe/Bielefeld"}, "zone"),
        ({"users": []}, "users"),
        ({"roots": []}, "roots"),
        ({"roots": ["tv"]}, "roots"),
        ({"roots": ["/srv/../etc"]}, "roots"),
        ({"roots": ["/srv/tv/"]}, "roots"),
        ({"users": "mythtv"}, "users"),
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
