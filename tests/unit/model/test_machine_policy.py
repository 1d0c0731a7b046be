"""Machine policies, and their combination with commands."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mythjobs.errors import DefinitionError
from mythjobs.model.bounds import IO_CLASSES, Bounds, tightest
from mythjobs.model.command import Command
from mythjobs.model.definition import command_from_table
from mythjobs.model.machine_policy import (
    ALLOW_ALL,
    ALLOW_NOTHING,
    MachinePolicy,
    combined_hours,
    combined_limits,
    policy_from_table,
    policy_to_table,
)
from mythjobs.model.units import format_duration, format_size, parse_duration, parse_size
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
    return command_from_table({"name": "flag", "argv": ["/bin/true"], **table})


def test_a_policy_survives_conversion_to_tables_and_back() -> None:
    policy = policy_from_table(WHOLE)
    assert (policy.jobs, policy.zone, policy.labels, policy.files) == (
        3, "Europe/Berlin", ("gpu",), ("/srv/tv",),
    )  # fmt: skip
    assert policy.rights.mode == "except"
    assert policy.rights.commands == {"transcode", "backup"}
    assert policy.command("flag").windows.closing == "requeue"
    assert policy.command("flag").windows.grace_s == 60
    assert policy_from_table(policy_to_table(policy)) == policy
    assert policy_from_table(policy_to_table(MachinePolicy())) == MachinePolicy()


def test_a_machine_without_policy_allows_nothing() -> None:
    # In MythTV, an unconfigured host runs every user job.
    assert policy_from_table({}).rights == ALLOW_NOTHING
    assert not policy_from_table({}).rights.allows("flag")


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
def test_allow_of_one_command_refines_allow_of_the_machine(
    allow: object, commands: dict[str, object], allowed: set[str]
) -> None:
    rights = policy_from_table({"allow": allow, "commands": commands}).rights
    assert {name for name in ("flag", "backup") if rights.allows(name)} == allowed


def test_allowing_the_last_exception_allows_all() -> None:
    some = policy_from_table({"allow": "all"}).rights.with_changes(
        allow=frozenset(), deny=frozenset({"flag"})
    )
    assert not some.allows("flag")
    assert some.with_changes(allow=frozenset({"flag"}), deny=frozenset()) == ALLOW_ALL


@pytest.mark.parametrize(
    "table,error",
    [
        ({"job": 3}, "job: unknown key; known are jobs"),
        ({"jobs": -1}, "jobs: must be a whole number from 0"),
        ({"zone": "Berlin"}, 'zone: time zone "Berlin" is not known on this machine'),
        ({"files": ["tv"]}, 'files: "tv" must be an absolute path'),
        ({"allow": "some"}, 'allow: must be "all", a list of commands'),
        ({"allow": ["No Name"]}, "allow: 'No Name' is not a command name"),
        ({"allow": [3]}, "allow: 3 is not a command name"),
        ({"windows": {"open": ["8-5"]}}, 'windows.open: "8-5" is not a range'),
        ({"limits": {"on_breach": "fail"}}, "limits.on_breach: unknown key"),
        ({"commands": {"flag": {"window": []}}}, "commands.flag.window: unknown key"),
        ({"commands": {"flag": {"windows": ["8-5"]}}}, "commands.flag.windows.open: "),
        ({"commands": {"flag": {"jobs": "1"}}}, "commands.flag.jobs: must be a whole number"),
        ({"commands": ["flag"]}, "commands: must be tables with the header"),
        (
            {"commands": {"flag": {"closing": "freeze", "windows": {"closing": "requeue"}}}},
            "commands.flag.closing: is also set in windows",
        ),
    ],
)
def test_an_invalid_setting_is_rejected_with_its_key(table: dict[str, object], error: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        policy_from_table(table)
    assert error in caught.value.sentence


def test_the_tightest_of_each_limit_applies() -> None:
    command = flag(limits={"memory": "8GiB", "wall": "1h", "nice": 15})
    policy = policy_from_table(
        {
            "limits": {"memory": "4GiB", "nice": 10, "io": "best-effort:6", "grace": "30s"},
            "commands": {"flag": {"limits": {"wall": "2h", "io": "idle"}}},
        }
    )
    assert combined_limits(command, policy, Bounds(cpu_s=60)) == Bounds(
        wall_s=3600, cpu_s=60, memory_bytes=2**32, nice=15, io="idle", grace_s=30
    )
    assert combined_limits(flag(), MachinePolicy()) == Bounds()


def test_hours_combine_three_sets_and_the_policys_closing() -> None:
    command = flag(windows={"open": ["20:00-08:00"], "closing": "terminate", "grace": "5s"})
    policy = policy_from_table(WHOLE)
    assert combined_hours(command, policy, "America/New_York", [("allow", 7)]) == Hours(
        (("20:00-08:00",), ("22:00-06:00 at most 2",), ("mon-fri 23:00-05:00",)),
        "Europe/Berlin",
        "requeue",
        60.0,
        (("allow", 7),),
    )
    assert combined_hours(command, MachinePolicy(), "America/New_York") == Hours(
        (("20:00-08:00",), (), ()), "America/New_York", "terminate", 5.0
    )
    assert combined_hours(flag(), MachinePolicy(), "") is None


BOUNDS = st.builds(
    Bounds,
    wall_s=st.none() | st.integers(1, 10**6),
    memory_bytes=st.none() | st.integers(1, 2**40),
    nice=st.none() | st.integers(0, 19),
    io=st.none() | st.sampled_from(IO_CLASSES[1:]),
)


@settings(max_examples=50)
@given(BOUNDS, BOUNDS, BOUNDS)
def test_combining_limits_is_commutative(one: Bounds, two: Bounds, three: Bounds) -> None:
    assert (
        tightest(one, two, three)
        == tightest(three, tightest(two, one))
        == tightest(two, three, one)
    )
    assert tightest(one, one) == one == tightest(one, Bounds())


@settings(max_examples=100)
@given(st.integers(0, 10**10), st.integers(0, 2**50))
def test_formatted_durations_and_sizes_parse_to_the_same_value(ms: int, count: int) -> None:
    assert round(1000 * parse_duration(format_duration(ms / 1000) or "")) == ms
    assert parse_size(format_size(count) or "") == count
