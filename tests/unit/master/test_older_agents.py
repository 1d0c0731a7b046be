"""Agents of older versions: they get no message that they do not know."""

from __future__ import annotations

import pytest
from msgspec import Struct

from mythjobs.master import requests
from mythjobs.protocol import messages as m
from mythjobs.protocol.compatibility import NEEDED_CAPABILITIES
from tests.unit.master.harness import NOON, Harness


def use_all_messages(master: Harness, can: frozenset[str]) -> set[type[Struct]]:
    """Run a job, change all about it that can be changed, and return what its machine received."""
    master.define()
    connection = master.join("attic", can=can, version=1)
    [job] = master.queue(1)
    assert master.take_grants() == [job]
    master.send_frame(connection, m.Started(job, 1, NOON))
    settings: dict[str, object] = {"allow": "all", "limits": {"wall": "1h"}}
    if "windows" in can:
        settings["windows"] = {"open": ["00:00-24:00 at most 1"]}
    master.request(requests.EditMachine("attic", settings))
    for frozen in (True, False):
        master.request(requests.FreezeJobs([job], frozen))
    for action in ("drain", "pause", "resume"):
        master.request(requests.ControlMachine("attic", action))
    master.attempts["attic"][job, 1] = "running"
    master.disconnect(connection)
    master.join("attic", can=can, version=1)
    master.request(requests.CancelJobs([job], "anna"))
    return {type(each) for each in master.sent["attic"]}


def test_an_agent_of_this_version_gets_all_messages(master: Harness) -> None:
    found = use_all_messages(master, m.CAPABILITIES)
    assert {m.HoursChanged, m.LimitsChanged, m.Freeze, m.Settings, m.Stop} <= found


@pytest.mark.parametrize("message", [each for each in NEEDED_CAPABILITIES if each is not m.Frozen])
def test_an_agent_without_a_capability_gets_no_message_that_needs_it(
    master: Harness, message: type[Struct]
) -> None:
    found = use_all_messages(master, m.CAPABILITIES - {NEEDED_CAPABILITIES[message]})
    assert message not in found
    assert {m.Settings, m.Stop} <= found


def test_agents_of_version_2_know_changes_of_limits(master: Harness) -> None:
    master.join("attic", can=m.CAPABILITIES - {"limits"}, version=2)
    assert "limits" in master.core.state.find_machine("attic").capabilities
