"""Messages that a peer of an older version does not know are not sent to it."""

from __future__ import annotations

import json
from typing import get_args

import msgspec

from mythjobs.protocol import codec
from mythjobs.protocol import messages as m
from mythjobs.protocol.compatibility import (
    MASTER_CAPABILITIES,
    NEEDED_CAPABILITIES,
    SMALL_OUTPUT,
    find_agent_capabilities,
    find_master_capabilities,
)

# What the first version of the link had; a peer without any capability knows these.
FIRST = {
    "hb", "started", "progress", "ended", "returned", "output_offer", "output_end", "grant",
    "renew", "stop", "stale", "settings", "output_fetch", "output_credit", "output_stop",
    "output_kept",
}  # fmt: skip


def test_each_later_message_needs_a_capability() -> None:
    agents, masters = get_args(m.AgentMessage), get_args(m.MasterMessage)
    later = {each for each in (*agents, *masters) if each.__struct_config__.tag not in FIRST}
    assert later == NEEDED_CAPABILITIES.keys()
    of_masters = {NEEDED_CAPABILITIES[each] for each in later & set(masters)}
    of_agents = {NEEDED_CAPABILITIES[each] for each in later & set(agents)}
    assert of_masters <= m.CAPABILITIES
    # The last one is a field of a message.
    assert of_agents | {SMALL_OUTPUT} == MASTER_CAPABILITIES


def test_fields_of_newer_versions_are_ignored() -> None:
    for message, decode in (
        (m.AgentFrame(1, 0, 2, [m.Heartbeat(1), m.Started(7, 1, 5)]), codec.decode_agent_frame),
        (m.MasterFrame(1, [m.Settings(2), m.Renew(1)]), codec.decode_master_frame),
        (m.Hello(2, "k", "n", "s", "attic", "b", "i", 2), codec.decode_handshake),
        (m.Welcome(2, "s", 1, 2), codec.decode_handshake),
    ):
        table = json.loads(codec.encode(message))
        for each in (table, *table.get("messages", ())):
            each["colour"] = {"red": [1, None]}
        assert decode(json.dumps(table).encode()) == message


def test_fields_that_an_older_version_did_not_send_have_defaults() -> None:
    hello = {"type": "hello"} | dict.fromkeys(
        ("machine_key", "nonce", "signature", "name", "boot_id", "incarnation"), "x"
    )
    found = codec.decode_handshake(json.dumps(hello | {"version": 1, "cores": 2}).encode())
    assert isinstance(found, m.Hello)
    assert (found.can, found.allow, found.policy, found.scaling) == ([], "", None, False)
    assert find_agent_capabilities(found) == frozenset()
    welcome = {"type": "welcome", "version": 1, "signature": "x", "machine_id": 1, "jobs": 2}
    greeted = codec.decode_handshake(json.dumps(welcome).encode())
    assert isinstance(greeted, m.Welcome)
    assert greeted.control is None
    assert find_master_capabilities(greeted) == frozenset()
    newer = msgspec.structs.replace(greeted, version=2, can=["frozen", "sings"])
    assert find_master_capabilities(newer) == {"frozen"}
