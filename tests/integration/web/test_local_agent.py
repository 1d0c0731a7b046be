"""The master's own agent, which the master restarts."""

from __future__ import annotations

import asyncio
import os
import resource
from pathlib import Path

import pytest

from mythjobs.config.state import open_state
from mythjobs.web.server.local_agent import LocalAgent
from tests.acceptance.local_cluster import wait_until


@pytest.mark.slow
def test_the_agent_is_started_again_after_no_descriptor_was_left(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state = open_state(tmp_path / "s")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    async def story() -> None:
        agent = LocalAgent(state, has_scaling=False)
        # A Popen needs three descriptors, the lock one.
        lowest = os.dup(0)
        os.close(lowest)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + 2, hard))
        running = asyncio.create_task(agent.keep_running())
        try:
            await asyncio.to_thread(
                wait_until, lambda: "cannot start the local agent" in caplog.text, "no error"
            )
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        try:
            await asyncio.to_thread(wait_until, lambda: agent._child is not None, "no agent")
            assert not running.done()
        finally:
            running.cancel()
            await asyncio.wait([running])
            assert await agent.stop(stop_jobs=False)

    asyncio.run(story())
