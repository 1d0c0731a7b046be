"""Machine policies, and their combination with commands."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mythjobs.errors import DefinitionError
from mythjobs.model.bounds import IO_CLASSES, Bounds, names_of_set_bounds, tightest
from mythjobs.model.command import Command
from mythjobs.model.definition import command_from_table
from mythjobs.model.limits import Limits
from mythjobs.model.machine_policy import (
    ALLOW_ALL,
    ALLOW_NOTHING,
    MachinePolicy,
    Rights,
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
    "no_labels": ["gpu:amd"],
    "paths": {"/srv/tv": "/mnt/nas/tv"},
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


ALLOW = 'allow: must be "all", a list of commands like ["backup"], or { except = ["transcode"] }'
NAMES = 'allow: must be a list of commands, like ["backup"]'
TWICE = "commands.flag.closing: is also set in windows; remove one of them"


@pytest.mark.parametrize(
    "table, error",
    [
        (
            {"job": 3},
            "job: unknown key; known are jobs, zone, labels, no_labels, files, paths, allow, "
            "windows, limits, commands",
        ),
        ({"jobs": -1}, "jobs: must be a whole number from 0 to 10000"),
        ({"jobs": 10_001}, "jobs: must be a whole number from 0 to 10000"),
        ({"zone": 7}, 'zone: must be text in quotes, like zone = "…"'),
        (
            {"zone": "Berlin"},
            'zone: time zone "Berlin" is not known on this machine; use a name like '
            '"Europe/Berlin", or install tzdata (the system\'s package, or `pip install tzdata`)',
        ),
        ({"files": ["/srv", "tv"]}, 'files: "tv" must be an absolute path'),
        (
            {"labels": ["gpu"], "no_labels": ["gpu"]},
            "no_labels: gpu is also in labels",
        ),
        ({"files": "/srv"}, 'files: must be a list of strings, like files = ["/srv/tv"]'),
        ({"labels": "gpu"}, 'labels: must be a list of strings, like labels = ["gpu"]'),
        ({"allow": "some"}, ALLOW),
        ({"allow": {"only": ["flag"]}}, ALLOW),
        ({"allow": 7}, ALLOW),
        ({"allow": {"except": "flag"}}, NAMES),
        (
            {"allow": ["No Name"]},
            "allow: 'No Name' is not a command name; see `mythjobs command list`",
        ),
        ({"allow": [3]}, "allow: 3 is not a command name; see `mythjobs command list`"),
        (
            {"allow": {"except": [3]}},
            "allow: 3 is not a command name; see `mythjobs command list`",
        ),
        (
            {"limits": {"on_breach": "fail"}},
            "limits.on_breach: unknown key; known are wall, cpu, idle, memory, output, "
            "processes, grace, nice, io",
        ),
        ({"commands": ["flag"]}, "commands: must be tables with the header [commands.NAME]"),
        (
            {"commands": {"A": {}}},
            "commands.A: 'A' is not a command name; see `mythjobs command list`",
        ),
        (
            {"commands": {"flag": 7}},
            "commands.flag: must be a table, like [commands.flag] with jobs = 1",
        ),
        (
            {"commands": {"flag": {"window": []}}},
            "commands.flag.window: unknown key; known are allow, windows, limits, jobs, closing, "
            "grace",
        ),
        (
            {"commands": {"flag": {"windows": []}}},
            "commands.flag.windows.open: is empty; remove it for hours that are always open",
        ),
        (
            {"commands": {"flag": {"limits": {"nice": 20}}}},
            "commands.flag.limits.nice: must be a whole number from 0 to 19",
        ),
        (
            {"commands": {"flag": {"jobs": "1"}}},
            "commands.flag.jobs: must be a whole number from 0 to 10000",
        ),
        ({"commands": {"flag": {"allow": 1}}}, "commands.flag.allow: must be true or false"),
        (
            {"commands": {"flag": {"closing": 1}}},
            'commands.flag.closing: must be text in quotes, like closing = "…"',
        ),
        (
            {"commands": {"flag": {"closing": "finish", "grace": "3s"}}},
            'commands.flag.grace: closing = "finish" ends no job, so a grace has no effect; '
            "remove one of them",
        ),
        (
            {"commands": {"flag": {"closing": "freeze", "windows": {"closing": "requeue"}}}},
            TWICE,
        ),
        ({"commands": {"flag": {"grace": "3s", "windows": {"grace": "3s"}}}}, TWICE),
    ],
)
def test_an_invalid_setting_is_rejected_with_key_and_remedy(
    table: dict[str, object], error: str
) -> None:
    with pytest.raises(DefinitionError) as caught:
        policy_from_table(table)
    assert caught.value.sentence == error


def test_the_smallest_and_largest_number_of_jobs_are_accepted() -> None:
    for jobs in (0, 10_000):
        policy = policy_from_table({"jobs": jobs, "commands": {"flag": {"jobs": jobs}}})
        assert (policy.jobs, policy.command("flag").jobs) == (jobs, jobs)


def test_a_stored_policy_may_name_a_zone_that_is_not_installed() -> None:
    assert policy_from_table({"zone": "Berlin"}, known_zone=False).zone == "Berlin"


def test_closing_and_grace_of_a_command_may_be_set_in_two_places() -> None:
    inside = {"windows": {"closing": "freeze"}, "grace": "3s"}
    outside = {"windows": {"grace": "3s"}, "closing": "freeze"}
    for table in (inside, outside):
        windows = policy_from_table({"commands": {"flag": table}}).command("flag").windows
        assert (windows.closing, windows.grace_s) == ("freeze", 3)


@pytest.mark.parametrize(
    "rights, text",
    [
        (ALLOW_ALL, '{"mode": "all", "commands": []}'),
        (
            Rights("listed", frozenset({"flag", "backup"})),
            '{"mode": "listed", "commands": ["backup", "flag"]}',
        ),
        (Rights("except", frozenset({"flag"})), '{"mode": "except", "commands": ["flag"]}'),
    ],
)
def test_rights_are_stored_as_json_and_written_as_toml(rights: Rights, text: str) -> None:
    assert rights.to_json() == text
    assert Rights.from_json(text) == rights
    policy = MachinePolicy(rights=rights)
    assert policy_from_table(policy_to_table(policy)) == policy


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


EVERY_BOUND = {
    "wall": "1h", "cpu": "1m30s", "idle": "10s", "memory": "1GiB", "output": "1000B",
    "processes": 7, "grace": "3s", "nice": 5, "io": "best-effort:2",
}  # fmt: skip


def test_every_limit_of_a_party_applies_and_survives_conversion() -> None:
    every = Bounds(3600, 90, 10, 2**30, 1000, 7, 3, 5, "best-effort:2")
    assert combined_limits(flag(limits=EVERY_BOUND), MachinePolicy()) == every
    policy = policy_from_table({"limits": EVERY_BOUND})
    assert combined_limits(flag(), policy) == every
    assert policy_to_table(policy) == {"allow": [], "limits": EVERY_BOUND}
    assert combined_limits(flag(), MachinePolicy(), every) == every
    names = {"wall", "cpu", "idle", "memory", "output", "processes", "grace", "nice", "io"}
    assert names_of_set_bounds(every) == names
    assert names_of_set_bounds(Bounds(memory_bytes=1, io="idle")) == {"memory", "io"}
    assert every.limits() == Limits(3600, 90, 10, 2**30, 1000, 7, 3)
    assert Bounds(nice=5).limits() == Limits()


def test_the_lowest_io_priority_applies() -> None:
    assert tightest(Bounds(io="best-effort:2"), Bounds(io="idle")).io == "idle"
    assert tightest(Bounds(io="best-effort:7"), Bounds(io="best-effort:2")).io == "best-effort:7"


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
    # Without any closing policy a job may finish, and the command's grace period applies.
    plain = flag(windows=["20:00-08:00"], limits={"grace": "7s"})
    assert combined_hours(plain, MachinePolicy(), "") == Hours(
        (("20:00-08:00",), (), ()), "", "finish", 7.0
    )
    assert combined_hours(flag(), MachinePolicy(), "", [("pause", 9)]) == Hours(
        ((), (), ()), "", "finish", 10.0, (("pause", 9),)
    )


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
