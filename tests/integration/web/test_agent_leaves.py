"""An agent that closes its connection has left; one whose connection breaks is missed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from mythjobs.agent.handshake import AgentIdentity, build_hello
from mythjobs.agent.master_address import find_master, read_fingerprint
from mythjobs.config import keys
from mythjobs.protocol import codec
from mythjobs.protocol import messages as m
from tests.integration.web.network_master import (
    invite,
    join,
    make_state,
    on_loopback,
    open_network,
)
from tests.integration.web.served_master import ServedMaster, run

__all__ = ["on_loopback"]  # a fixture
pytestmark = [pytest.mark.usefixtures("on_loopback"), pytest.mark.slow]


@pytest.mark.parametrize("is_broken", [False, True])
def test_the_end_of_a_connection_tells_whether_the_agent_has_left(
    tmp_path: Path, is_broken: bool
) -> None:
    async def story(master: ServedMaster) -> None:
        await open_network(master)
        attic = make_state(tmp_path, "attic")
        await join(attic, await invite(master))
        identity = AgentIdentity(keys.load_or_create_key(attic.agent.key), "attic", "b", "i")
        address = find_master(attic)
        async with address.connect(0) as channel:
            challenge = codec.decode_handshake(await channel.receive_message())
            assert isinstance(challenge, m.Challenge)
            binding = read_fingerprint(channel)
            hello, _ = build_hello(
                challenge, identity, "ab" * 32, address.trusted_key, channel=binding
            )
            channel.send_message(codec.encode(hello), is_text=True)
            await channel.receive_message()  # the welcome
            [machine] = master.master.state.machines.values()
            assert machine.connection is not None
            if is_broken:
                channel.transport.abort()
        async with asyncio.timeout(60):
            while (  # noqa: ASYNC110
                machine := next(iter(master.master.state.machines.values()))
            ).connection is not None:
                await asyncio.sleep(0.01)
        assert machine.has_left is not is_broken

    run(tmp_path, story)
