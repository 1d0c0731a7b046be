"""Messages that a peer of an older version does not know are not sent to it."""

from __future__ import annotations

from typing import get_args

from mythjobs.protocol import messages as m
from mythjobs.protocol.compatibility import (
    MASTER_CAPABILITIES,
    NEEDED_CAPABILITIES,
    SMALL_OUTPUT,
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
