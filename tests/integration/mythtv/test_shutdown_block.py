"""A backend is kept from shutting down only while jobs run."""

from __future__ import annotations

from typing import Any

import pytest

from mythjobs.client.client import Client
from mythjobs.client.locate import Address
from mythjobs.errors import Unreachable
from mythjobs.mythtv.bridge.shutdown_block import ShutdownBlock
from mythjobs.mythtv.settings import BridgeSettings
from tests.support.mythtv.backend import FakeBackend


class JobList(Client):
    """Client whose master lists jobs with these keys."""

    def __init__(self) -> None:
        super().__init__(Address("", ""))
        self.keys: list[str | None] = []

    def get(self, path: str, query: Any = None, **options: Any) -> dict[str, Any]:
        assert (path, query["state"]) == ("jobs", "leased,running")
        return {"jobs": [{"key": each} for each in self.keys]}


def test_the_shutdown_is_blocked_while_a_job_runs(backend: FakeBackend) -> None:
    client = JobList()
    block = ShutdownBlock(BridgeSettings("127.0.0.1", backend.port, name="b"), lambda: client)
    client.keys = [None, "backup"]
    block.look_once()
    assert backend.requests == []
    client.keys = ["mythtv:auto:1001_20260715181300:flag"]
    block.look_once()
    block.look_once()
    assert backend.requests[-3:] == ["ANN Monitor b 0", "BLOCK_SHUTDOWN", "BLOCK_SHUTDOWN"]
    # The connection breaks: the next look replaces it.
    backend.drop_clients()
    with pytest.raises(Unreachable):
        block.look_once()
    block.look_once()
    assert backend.requests[-2:] == ["ANN Monitor b 0", "BLOCK_SHUTDOWN"]
    client.keys = []
    block.look_once()
    block.look_once()
    with backend.changed:
        assert backend.changed.wait_for(lambda: backend.requests[-1] == "DONE", 60)
    assert backend.requests[-2:] == ["ALLOW_SHUTDOWN", "DONE"]
