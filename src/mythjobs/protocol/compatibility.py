"""Peers of older versions: which messages they know. They close the connection at another one."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from mythjobs.protocol import messages as m

# Messages that the first version of the link did not have, and the capability of peers that know
# them: of agents for messages of the master, of masters for messages of agents.
NEEDED_CAPABILITIES: Final[dict[type[Struct], str]] = {
    m.HoursChanged: "windows",
    m.LimitsChanged: "limits",
    m.Freeze: "freeze",
    m.Frozen: "frozen",
}
# SMALL_OUTPUT: the master stores the output in the field `data` of Ended.
SMALL_OUTPUT: Final = "small_output"
MASTER_CAPABILITIES: Final = frozenset({"frozen", SMALL_OUTPUT})
# Capabilities of peers that use version 2 of the link, even if they do not name them.
_AGENT_VERSION_2: Final = frozenset({"limits"})
_MASTER_VERSION_2: Final = frozenset({"frozen"})


def find_agent_capabilities(hello: m.Hello) -> frozenset[str]:
    found = m.CAPABILITIES.intersection(hello.can)
    return found if hello.version == 1 else found | _AGENT_VERSION_2


def find_master_capabilities(welcome: m.Welcome) -> frozenset[str]:
    found = MASTER_CAPABILITIES.intersection(welcome.can)
    return found if welcome.version == 1 else found | _MASTER_VERSION_2
