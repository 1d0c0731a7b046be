"""The machine's own limits: the tighter value wins, in grants and in later changes."""

from __future__ import annotations

from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from mythjobs.agent.core.core import AgentCore
from mythjobs.agent.core.grant_check import apply_own_limits
from mythjobs.agent.core.turn import CheckInputs
from mythjobs.model.bounds import IO_CLASSES, NO_BOUNDS, Bounds
from mythjobs.model.machine_policy import Rights
from mythjobs.model.own_policy import OwnPolicy
from mythjobs.model.policy_tables import Windows
from mythjobs.protocol import messages as m
from mythjobs.protocol.messages import CHANGEABLE_LIMITS, LimitsChanged
from mythjobs.protocol.run_spec import HoursSpec, RunSpec
from tests.support.agent_harness import BASE_ENVIRONMENT, AgentHarness, at

_LIMITS = ("wall_s", "cpu_s", "idle_s", "memory_bytes", "output_bytes", "processes")
_VALUES = st.none() | st.integers(1, 5)


def test_a_machine_without_limits_changes_nothing() -> None:
    run = RunSpec(["/bin/true"])
    assert apply_own_limits(run, NO_BOUNDS) is run


@given(st.tuples(*[_VALUES] * len(_LIMITS)), st.tuples(*[_VALUES] * len(_LIMITS)))
def test_the_tighter_of_both_values_applies(
    asked: tuple[int | None, ...], own: tuple[int | None, ...]
) -> None:
    bounds = Bounds(**dict(zip(_LIMITS, own, strict=True)))  # type: ignore[arg-type]
    values = dict(zip(_LIMITS, asked, strict=True))
    run = apply_own_limits(RunSpec(["x"], **values), bounds)  # type: ignore[arg-type]
    changed = apply_own_limits(LimitsChanged(1, 1, **values), bounds)  # type: ignore[arg-type]
    for name, mine, theirs in zip(_LIMITS, asked, own, strict=True):
        given_values = [each for each in (mine, theirs) if each is not None]
        expected = min(given_values, default=None)
        assert getattr(run, name) == getattr(changed, name) == expected
    assert run.argv == ["x"]


@given(
    st.integers(0, 19),
    st.integers(0, 19),
    st.sampled_from(IO_CLASSES),
    st.sampled_from(IO_CLASSES[1:]),
)
def test_the_machine_only_lowers_priority(nice: int, own: int, io: str, own_io: str) -> None:
    run = apply_own_limits(RunSpec(["x"], nice=nice, io=io), Bounds(nice=own, io=own_io))
    assert run.nice == max(nice, own)
    assert IO_CLASSES.index(run.io) == max(IO_CLASSES.index(io), IO_CLASSES.index(own_io))


def test_the_grace_period_is_shortened() -> None:
    assert apply_own_limits(RunSpec(["x"], grace_s=60.0), Bounds(grace_s=5.0)).grace_s == 5.0
    assert apply_own_limits(RunSpec(["x"], grace_s=1.0), Bounds(grace_s=5.0)).grace_s == 1.0
    assert "grace_s" in CHANGEABLE_LIMITS


def test_a_command_that_the_machine_refuses_is_never_started() -> None:
    agent = AgentHarness(own=OwnPolicy(rights=Rights("listed", frozenset({"backup"}))))
    agent.master_sends(
        agent.make_grant(1, command="transcode"), agent.make_grant(2, command="backup")
    )
    returned = [each for each in agent.send_all() if isinstance(each, m.Returned)]
    assert [(each.job, each.reason) for each in returned] == [
        (1, "the machine's own policy refuses transcode")
    ]
    started = [each for each in agent.reaper_messages if each["type"] == "start"]
    assert [each["job"] for each in started] == [2]


def test_the_reaper_gets_the_machines_limits_also_after_a_change_by_the_master() -> None:
    agent = AgentHarness(own=OwnPolicy(limits=Bounds(wall_s=60.0)))
    agent.master_sends(agent.make_grant(1, run={"wall_s": 3600.0}))
    [start] = [each for each in agent.reaper_messages if each["type"] == "start"]
    assert start["wall_s"] == 60.0
    agent.master_sends(LimitsChanged(1, 1, wall_s=7200.0, cpu_s=9.0))
    [change] = [each for each in agent.reaper_messages if each["type"] == "limits"]
    assert (change["wall_s"], change["cpu_s"]) == (60.0, 9.0)


NIGHT = Windows(("22:00-06:00",), "freeze")  # the test's clock shows 22:13 UTC


def test_a_grant_outside_the_machines_own_windows_is_returned() -> None:
    own = OwnPolicy(windows=Windows(("06:00-22:00",)), zone="UTC")
    agent = AgentHarness(own=own)
    agent.master_sends(agent.make_grant(1))
    [returned] = [each for each in agent.send_all() if isinstance(each, m.Returned)]
    assert (returned.job, returned.code) == (1, m.HOURS_CLOSED)


def test_the_reaper_closes_the_machines_own_windows_whatever_the_master_says() -> None:
    agent = AgentHarness(own=OwnPolicy(windows=NIGHT, zone="UTC"))
    hours = HoursSpec([[], [], []], "UTC", "finish", overrides=[("allow", 2**47)])
    agent.master_sends(agent.make_grant(1, hours=hours, command="flag"))
    [start] = agent.take_sent("start")
    kinds = [act[1] for act in cast(Any, start["acts"])]
    assert kinds[:3] == ["thaw", "freeze", "thaw"]
    agent.reaper_sends(agent.started(1))
    # The master forgets them: nothing changes.
    agent.take_sent("acts")
    agent.master_sends(m.HoursChanged(1, 1, hours))
    agent.master_sends(m.HoursChanged(1, 1, None))
    terms = [each.terms.hours for each in agent.core.table.attempts.values()]
    assert [each and each.sets[3] for each in terms] == [("22:00-06:00",)]


def test_own_windows_changed_while_no_agent_ran_apply_to_running_jobs() -> None:
    agent = AgentHarness()
    agent.master_sends(agent.make_grant(1))
    core = AgentCore(BASE_ENVIRONMENT, OwnPolicy(windows=NIGHT, zone="UTC"))
    core.restore(agent.core.take_snapshot())
    after = AgentHarness(connect=False)
    after.core = core
    after.reaper_connects("r1", after.started(1))
    [acts] = after.take_sent("acts")
    assert [act[1] for act in cast(Any, acts["acts"])][:3] == ["thaw", "freeze", "thaw"]


ROOTS = OwnPolicy(roots=("/srv/tv",))


def test_all_paths_of_a_job_are_checked_against_the_roots() -> None:
    agent = AgentHarness(own=ROOTS)
    run = {"paths": ["/srv/tv/a.ts"], "cwd": "/srv", "stdin": "in.txt", "inputs": ["/srv/tv/a.ts"]}
    agent.master_sends(agent.make_grant(1, run=run))
    checked = ["/srv/tv/a.ts", "/srv", "/srv/in.txt"]
    assert agent.input_checks == [CheckInputs((1, 1), ["/srv/tv/a.ts"], checked)]
    agent.execute(agent.core.on_inputs_checked((1, 1), "", at(0), "/srv"))
    [returned] = [each for each in agent.send_all() if isinstance(each, m.Returned)]
    # The master must not take the path for one that becomes visible later.
    assert (returned.reason, returned.code, returned.path) == (
        "/srv is outside the roots of the own policy", "", "",
    )  # fmt: skip
    assert agent.take_starts() == []
    agent.master_sends(agent.make_grant(2, run={"paths": [], "cwd": "/"}))
    assert agent.take_starts() == [2]


def test_a_master_that_does_not_tell_paths_gets_its_grants_back() -> None:
    agent = AgentHarness(own=ROOTS)
    agent.master_sends(agent.make_grant(1))
    [returned] = [each for each in agent.send_all() if isinstance(each, m.Returned)]
    assert "does not say which arguments are paths" in returned.reason
