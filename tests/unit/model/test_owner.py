"""A machine owner's settings, and how they join with what a command's author said."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mythjobs.errors import DefinitionError
from mythjobs.model.bounds import IO_CLASSES, Bounds, tighter
from mythjobs.model.command import Command
from mythjobs.model.definition import command_from
from mythjobs.model.machine_policy import (
    EVERYTHING,
    NOTHING,
    Owner,
    combined_limits,
    hours,
    owner_from,
    owner_to_table,
)
from mythjobs.model.units import duration_s, size_bytes, write_duration, write_size
from mythjobs.model.window import Hours

WHOLE: dict[str, Any] = {
    "jobs": 3,
    "zone": "Europe/Berlin",
    "labels": ["gpu"],
    "files": ["/srv/tv"],
    "allow": {"except": ["transcode"]},
    "windows": {"open": ["22:00-06:00 at most 2"], "closing": "freeze"},
    "limits": {"memory": "4GiB", "nice": 10, "io": "idle"},
    "commands": {
        "flag": {
            "windows": ["mon-fri 23:00-05:00"],
            "closing": "requeue",
            "grace": "1m",
            "jobs": 1,
        },
        "backup": {"allow": False, "limits": {"wall": "1h30m"}},
    },
}


def flag(**table: object) -> Command:
    return command_from({"name": "flag", "argv": ["/bin/true"], **table})


def test_settings_are_read_whole_and_written_back_to_the_same() -> None:
    owner = owner_from(WHOLE)
    assert (owner.jobs, owner.zone, owner.labels, owner.files) == (
        3, "Europe/Berlin", ("gpu",), ("/srv/tv",),
    )  # fmt: skip
    assert owner.rights.mode == "except"
    assert owner.rights.commands == {"transcode", "backup"}
    assert owner.command("flag").windows.closing == "requeue"
    assert owner.command("flag").windows.grace_s == 60
    assert owner_from(owner_to_table(owner)) == owner
    assert owner_from(owner_to_table(Owner())) == Owner()


def test_a_machine_of_which_nothing_is_said_allows_nothing() -> None:
    # MythTV's bare host ran every user job.
    assert owner_from({}).rights == NOTHING
    assert not owner_from({}).rights.allow("flag")


@pytest.mark.parametrize(
    "allow,commands,allowed",
    [
        ("all", {}, {"flag", "backup"}),
        ("all", {"flag": {"allow": False}}, {"backup"}),
        (["flag"], {}, {"flag"}),
        ([], {"backup": {"allow": True}}, {"backup"}),
        ({"except": ["flag"]}, {}, {"backup"}),
        ({"except": ["flag"]}, {"flag": {"allow": True}}, {"flag", "backup"}),
    ],
)
def test_what_is_said_of_one_command_refines_what_is_said_of_all(
    allow: object, commands: dict[str, object], allowed: set[str]
) -> None:
    rights = owner_from({"allow": allow, "commands": commands}).rights
    assert {name for name in ("flag", "backup") if rights.allow(name)} == allowed


def test_the_last_exception_allowed_again_leaves_none() -> None:
    some = owner_from({"allow": "all"}).rights.changed(allow=frozenset(), deny=frozenset({"flag"}))
    assert not some.allow("flag")
    assert some.changed(allow=frozenset({"flag"}), deny=frozenset()) == EVERYTHING


@pytest.mark.parametrize(
    "table,said",
    [
        ({"job": 3}, "job: unknown key; known are jobs"),
        ({"jobs": -1}, "jobs: must be a whole number from 0"),
        ({"zone": "Berlin"}, 'zone: "Berlin" is no time zone known here'),
        ({"files": ["tv"]}, 'files: "tv" is not an absolute directory'),
        ({"allow": "some"}, 'allow: must be "all", a list of commands'),
        ({"allow": ["No Name"]}, "allow: 'No Name' is no name of a command"),
        ({"allow": [3]}, "allow: 3 is no name of a command"),
        ({"windows": {"open": ["8-5"]}}, 'windows.open: "8-5" is no range'),
        ({"limits": {"on_breach": "fail"}}, "limits.on_breach: unknown key"),
        ({"commands": {"flag": {"window": []}}}, "commands.flag.window: unknown key"),
        ({"commands": {"flag": {"windows": ["8-5"]}}}, "commands.flag.windows.open: "),
        ({"commands": {"flag": {"jobs": "1"}}}, "commands.flag.jobs: must be a whole number"),
        ({"commands": ["flag"]}, "commands: are tables, each headed"),
        (
            {"commands": {"flag": {"closing": "freeze", "windows": {"closing": "requeue"}}}},
            "commands.flag.closing: stands in windows as well",
        ),
    ],
)
def test_a_wrong_setting_is_refused_with_its_key(table: dict[str, object], said: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        owner_from(table)
    assert said in caught.value.sentence


def test_the_tighter_of_every_limit_wins_whoever_set_it() -> None:
    command = flag(limits={"memory": "8GiB", "wall": "1h", "nice": 15})
    owner = owner_from(
        {
            "limits": {"memory": "4GiB", "nice": 10, "io": "best-effort:6", "grace": "30s"},
            "commands": {"flag": {"limits": {"wall": "2h", "io": "idle"}}},
        }
    )
    assert combined_limits(command, owner, Bounds(cpu_s=60)) == Bounds(
        wall_s=3600, cpu_s=60, memory_bytes=2**32, nice=15, io="idle", grace_s=30
    )
    assert combined_limits(flag(), Owner()) == Bounds()


def test_hours_are_the_three_sets_and_the_owners_word_on_closing() -> None:
    command = flag(windows={"open": ["20:00-08:00"], "closing": "terminate", "grace": "5s"})
    owner = owner_from(WHOLE)
    assert hours(command, owner, "America/New_York", [("allow", 7)]) == Hours(
        (("20:00-08:00",), ("22:00-06:00 at most 2",), ("mon-fri 23:00-05:00",)),
        "Europe/Berlin",
        "requeue",
        60.0,
        (("allow", 7),),
    )
    assert hours(command, Owner(), "America/New_York") == Hours(
        (("20:00-08:00",), (), ()), "America/New_York", "terminate", 5.0
    )
    assert hours(flag(), Owner(), "") is None


BOUNDS = st.builds(
    Bounds,
    wall_s=st.none() | st.integers(1, 10**6),
    memory_bytes=st.none() | st.integers(1, 2**40),
    nice=st.none() | st.integers(0, 19),
    io=st.none() | st.sampled_from(IO_CLASSES[1:]),
)


@settings(max_examples=50)
@given(BOUNDS, BOUNDS, BOUNDS)
def test_it_does_not_matter_in_which_order_limits_are_joined(
    one: Bounds, two: Bounds, three: Bounds
) -> None:
    assert tighter(one, two, three) == tighter(three, tighter(two, one)) == tighter(two, three, one)
    assert tighter(one, one) == one == tighter(one, Bounds())


@settings(max_examples=100)
@given(st.integers(0, 10**10), st.integers(0, 2**50))
def test_a_written_duration_and_size_are_read_back_exactly(ms: int, count: int) -> None:
    assert round(1000 * duration_s(write_duration(ms / 1000) or "")) == ms
    assert size_bytes(write_size(count) or "") == count
