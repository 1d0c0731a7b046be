"""An agent whose master sends nonsense keeps its state, and comes back at its leisure."""

from __future__ import annotations

import asyncio
import json
import signal

import pytest

from mythjobs.config.state import StateDir
from mythjobs.protocol import messages as m
from tests.support.agent_master import run_agent_process, run_master

pytestmark = pytest.mark.slow
GRANT: dict[str, object] = {
    "type": "grant", "no": 1, "hb": 1, "job": 1, "n": 1, "priority": 0, "run": {"argv": ["true"]},
}  # fmt: skip


@pytest.mark.parametrize(
    "nonsense",
    [
        {**GRANT, "job": 2**70},
        {**GRANT, "start_by_s": -1},
        {**GRANT, "run": {"argv": ["true"], "wall_s": 1e300}},
        {"type": "x" * 10_000},
        b'{"type": "\xff"}',
    ],
    ids=["id", "negative", "huge", "unknown", "no UTF-8"],
)
def test_an_agent_says_once_that_its_master_violates_the_protocol(
    state: StateDir, nonsense: object
) -> None:
    """Seen: it accepted job 2**70, another message made it connect five times a second, and a third
    one ended it."""
    message = nonsense if isinstance(nonsense, bytes) else json.dumps(nonsense).encode()
    frame = b'{"ack": 0, "messages": [%b]}' % message

    async def story() -> str:
        async with run_master(state) as master, run_agent_process(state) as agent:
            for _ in range(5):
                await master.wait_connected()
                assert master.connection is not None
                connection, master.connection = master.connection, None
                await connection.send(frame, text=True)
                await connection.wait_closed()
            await master.wait_connected()
            await master.grant(1, "/bin/true")
            assert (await master.receive(m.Ended)).outcome == {"kind": "exited", "code": 0}
            agent.signal(signal.SIGTERM)
            assert await agent.wait() == 0
            return agent.log

    log = asyncio.run(story())
    assert log.count("connection closed, as the master violated the protocol: invalid message") == 1
    assert log.count("connected to the master as machine") == 3
    assert log.count("connection to the master lost") == 3
    assert max(map(len, log.splitlines())) < 1000
