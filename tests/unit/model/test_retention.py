"""Retention limits: parsing, defaults and what exceeds them."""

from __future__ import annotations

import math
from typing import Any

import pytest

from mythjobs.errors import DefinitionError
from mythjobs.model import retention as r
from mythjobs.model.definition import command_from_table


def test_a_definition_may_limit_what_is_kept() -> None:
    table = {"age": "30d", "jobs": 100, "output": "2GB"}
    command = command_from_table({"name": "x", "argv": ["x"], "retention": table})
    assert command.retention == r.Retention(30 * 86_400, 100, 2 * 10**9)
    assert command_from_table({"name": "x", "argv": ["x"]}).retention == r.Retention()
    everything = {"age": "forever", "jobs": "unlimited", "output": "unlimited"}
    assert r.read_retention(everything) == r.Retention(math.inf, math.inf, math.inf)


@pytest.mark.parametrize(
    "table, sentence",
    [
        (3, "retention: must be a table, like .retention. with age"),
        ({"ages": "1d"}, "retention.ages: unknown key; known are age, jobs, output"),
        ({"age": "0s"}, "retention.age: must be longer than 0s"),
        ({"age": "old"}, 'retention.age: "old" is not a duration'),
        ({"jobs": 0}, "retention.jobs: must be a whole number from 1"),
        ({"output": "1"}, 'retention.output: "1" is not a size'),
    ],
)
def test_invalid_limits_are_refused(table: Any, sentence: str) -> None:
    with pytest.raises(DefinitionError, match=sentence):
        r.read_retention(table)


def test_a_command_has_the_limits_of_the_queue_unless_it_sets_its_own() -> None:
    queue = r.Retention(100.0, 50, 1000)
    limits = r.limits_of_commands(
        queue, {1: r.Retention(), 2: r.Retention(age_s=math.inf, output_bytes=7)}
    )
    # The queue's limit of output is for all commands together.
    assert limits == {1: r.Retention(100.0, 50, math.inf), 2: r.Retention(math.inf, 50, 7)}
    assert r.merge(r.Retention(jobs=3), r.DEFAULT) == r.Retention(7_776_000, 3, 20 * 10**9)


def test_what_exceeds_a_limit() -> None:
    assert r.oldest_kept_ms(r.Retention(age_s=1.5), 10_000) == 8500
    assert r.oldest_kept_ms(r.Retention(age_s=99.0), 10_000) == 0
    assert r.oldest_kept_ms(r.Retention(age_s=math.inf), 10_000) is None
    assert [r.find_excess(limit, 10) for limit in (None, math.inf, 4, 10, 11)] == [0, 0, 6, 0, 0]
