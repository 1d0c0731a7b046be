"""Access to /metrics, on a real master."""

from __future__ import annotations

import asyncio
import http.client
import ssl
import stat
from pathlib import Path

import pytest

from mythjobs.config.tokens import load_or_create_metrics_token
from tests.integration.web.network_master import on_loopback, open_network
from tests.integration.web.served_master import NOTE, ServedMaster, run

__all__ = ["on_loopback"]  # a fixture
pytestmark = pytest.mark.slow


def bearer(token: str) -> dict[str, str | None]:
    return {"Authorization": f"Bearer {token}"}


def test_metrics_are_read_with_their_own_token(tmp_path: Path) -> None:
    async def story(master: ServedMaster) -> None:
        for header in ("x" * 43, ""):
            refused = await master.request_tcp("GET", "/metrics", headers=bearer(header))
            assert refused.status == 401
        token = load_or_create_metrics_token(master.state_dir)
        assert stat.S_IMODE(master.state_dir.metrics_token.stat().st_mode) == 0o600
        found = await master.request_tcp("GET", "/metrics", headers=bearer(token))
        assert found.status == 200
        assert found.headers["content-type"].startswith("text/plain; version=0.0.4")
        assert b"mythjobs_info" in found.body
        # The token permits nothing else.
        for method, path in (
            ("GET", "/api/v1/status"),
            ("GET", "/metrics/"),
            ("GET", "/metrics/../api/v1/status"),
            ("POST", "/metrics"),
        ):
            refused = await master.request_tcp(method, path, headers=bearer(token))
            assert refused.status in (401, 404, 405), (method, path)
        foreign = {**bearer(token), "Host": "attic.example"}
        assert (await master.request_tcp("GET", "/metrics", headers=foreign)).status == 421
        new = load_or_create_metrics_token(master.state_dir, is_new=True)
        assert (await master.request_tcp("GET", "/metrics", headers=bearer(token))).status == 401
        assert (await master.request_tcp("GET", "/metrics", headers=bearer(new))).status == 200

    run(tmp_path, story)


def test_the_token_of_the_api_and_the_socket_read_metrics_too(tmp_path: Path) -> None:
    async def story(master: ServedMaster) -> None:
        assert (await master.request_tcp("GET", "/metrics")).status == 200
        await master.api("POST", "/commands", {"definition": NOTE, "replace": False})
        await master.api("POST", "/jobs", {"command": "note"})
        first = (await master.request("GET", "/metrics")).body
        # Within a second the answer is repeated; then it has the new job.
        async with asyncio.timeout(60):
            while (body := (await master.request("GET", "/metrics")).body) == first:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert b'mythjobs_jobs{command="note",state="queued"} 1.0' in body
        assert b"mythjobs_turn_statements_count" in body

    run(tmp_path, story)


@pytest.mark.usefixtures("on_loopback")
def test_metrics_are_read_over_the_network_as_documented(tmp_path: Path) -> None:
    async def story(master: ServedMaster) -> None:
        await open_network(master)
        token = load_or_create_metrics_token(master.state_dir)

        def read(given: str) -> tuple[int, bytes]:
            context = ssl.create_default_context(cafile=master.state_dir.authority_certificate)
            connection = http.client.HTTPSConnection("localhost", master.port, context=context)
            try:
                connection.request("GET", "/metrics", headers={"authorization": f"Bearer {given}"})
                response = connection.getresponse()
                return response.status, response.read()
            finally:
                connection.close()

        status, body = await asyncio.to_thread(read, token)
        assert (status, b"mythjobs_info" in body) == (200, True)
        # Not even the token of the API is valid from the network.
        for wrong in ("t" * 43, "x" * 43):
            assert (await asyncio.to_thread(read, wrong))[0] == 403

    run(tmp_path, story)
