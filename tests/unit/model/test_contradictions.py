"""Settings of new definitions of which one has no effect are refused; stored ones still work."""

from __future__ import annotations

from typing import Any

import pytest

from mythjobs.errors import DefinitionError
from mythjobs.model.contradictions import new_command_from_table, new_schedule_from_table
from mythjobs.model.definition import command_from_table
from mythjobs.model.schedule import schedule_from_table

COMMAND: dict[str, Any] = {"name": "x", "argv": ["x"]}
SCHEDULE: dict[str, Any] = {"name": "night", "command": "backup"}
HOURS = SCHEDULE | {"between": "02:00-05:00"}


@pytest.mark.parametrize(
    "table, key, part",
    [
        ({"limits": {"idle": "1h", "wall": "1h"}}, "limits.idle", "shorter than wall (1h)"),
        (
            {"limits": {"on_breach": "hold"}, "retry": {"failures": 1, "on": ["breached"]}},
            "limits.on_breach",
            '"hold" contradicts retry.on, which has "breached"',
        ),
        (
            {"limits": {"on_breach": "retry"}, "retry": {"failures": 1, "on": ["exited"]}},
            "limits.on_breach",
            '"retry" contradicts retry.on, which lacks "breached"',
        ),
        ({"notify": {"events": [], "template": "{title}"}}, "notify.template", "sends nothing"),
        ({"summary": "x" * 1001}, "summary", "has 1001 characters; give at most 1000"),
        ({"windows": {"closing": "freeze", "grace": "1m"}}, "windows.grace", "ends no job"),
        (
            {"parameters": [{"name": "p", "type": "path", "dash": True}]},
            "parameters.p.dash",
            "absolute paths",
        ),
    ],
)
def test_settings_of_a_command_that_contradict_each_other(
    table: dict[str, Any], key: str, part: str
) -> None:
    command_from_table(COMMAND | table)
    with pytest.raises(DefinitionError) as error:
        new_command_from_table(COMMAND | table)
    assert error.value.key == key
    assert part in error.value.sentence


@pytest.mark.parametrize(
    "table, key",
    [
        (SCHEDULE | {"every": "1d", "late_after": "2h", "start_within": "2h"}, "late_after"),
        (HOURS | {"spread": "3h"}, "spread"),
        (HOURS | {"late_after": "3h"}, "late_after"),
        (HOURS | {"retry": {"failures": 1, "backoff": "3h"}}, "retry.backoff"),
    ],
)
def test_settings_of_a_schedule_that_contradict_each_other(table: dict[str, Any], key: str) -> None:
    schedule_from_table(table)
    with pytest.raises(DefinitionError) as error:
        new_schedule_from_table(table)
    assert error.value.key == key
    assert "must be shorter than" in error.value.sentence


@pytest.mark.parametrize(
    "table",
    [
        SCHEDULE | {"every": "1d", "late_after": "1h", "start_within": "2h"},
        SCHEDULE | {"every": "1d", "spread": "3h", "start_within": "2h"},
        HOURS | {"spread": "179m", "late_after": "1h", "retry": {"failures": 1, "backoff": "1h"}},
    ],
)
def test_settings_of_a_schedule_that_work_together(table: dict[str, Any]) -> None:
    assert new_schedule_from_table(table) == schedule_from_table(table)


def test_settings_of_a_command_that_work_together() -> None:
    table = COMMAND | {
        "limits": {"wall": "2h", "idle": "1h", "on_breach": "retry"},
        "retry": {"failures": 1, "on": ["exited", "breached"]},
        "windows": {"closing": "requeue", "grace": "1m"},
    }
    assert new_command_from_table(table) == command_from_table(table)
