"""Attempts whose input files are checked before the start."""

from __future__ import annotations

from typing import Any

import pytest

from mythjobs.agent.core.turn import CheckInputs
from mythjobs.protocol import messages as m
from tests.support.agent_harness import AgentHarness, at

PATH = "/mnt/nas/tv/a.ts"


@pytest.fixture
def agent() -> AgentHarness:
    return AgentHarness()


def granted(agent: AgentHarness, **given: Any) -> None:
    agent.master_sends(agent.make_grant(1, run={"inputs": [PATH]}, **given))


def has_started(agent: AgentHarness) -> bool:
    return any(each["type"] == "start" for each in agent.reaper_messages)


def test_an_attempt_starts_when_its_files_are_found(agent: AgentHarness) -> None:
    granted(agent)
    assert CheckInputs((1, 1), [PATH], []) in agent.input_checks
    assert not has_started(agent)
    agent.execute(agent.core.on_inputs_checked((1, 1), "", at(0)))
    assert has_started(agent)


def test_an_attempt_whose_file_is_hidden_is_returned_with_the_path(agent: AgentHarness) -> None:
    granted(agent)
    agent.execute(agent.core.on_inputs_checked((1, 1), "/mnt/nas/tv", at(0)))
    assert not has_started(agent)
    [returned] = [each for each in agent.send_all() if isinstance(each, m.Returned)]
    assert (returned.code, returned.path) == (m.NOT_VISIBLE, "/mnt/nas/tv")


def test_a_leased_attempt_is_checked_after_its_lease_is_in_the_journal(agent: AgentHarness) -> None:
    agent.slow_disk = True
    granted(agent, silence="rerun", lease_s=300.0)
    assert not has_started(agent)
    agent.slow_disk = False
    agent.sync_journal()
    assert CheckInputs((1, 1), [PATH], []) in agent.input_checks
    agent.execute(agent.core.on_inputs_checked((1, 1), "", at(0)))
    assert has_started(agent)


def test_an_answer_about_a_stopped_attempt_changes_nothing(agent: AgentHarness) -> None:
    granted(agent)
    agent.master_sends(m.Stop(1, 1, "anna"))
    agent.execute(agent.core.on_inputs_checked((1, 1), "", at(0)))
    agent.execute(agent.core.on_inputs_checked((2, 1), "/x", at(0)))
    assert not has_started(agent)
