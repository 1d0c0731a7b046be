"""The OpenAPI document describes what the API answers: statuses, error bodies, methods.

SCHEMATHESIS_EXAMPLES=200 sends more requests than the suite does.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mythjobs.config.state import read_master_info
from tests.acceptance.local_cluster import LocalCluster, run_cluster, wait_until
from tests.integration.web.served_master import NOTE, ServedMaster, run

ERROR_BODY = {"$ref": "#/components/schemas/ErrorBody"}
ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("path", ["/", "/nothing", "/api/nothing", "/api/v1/nothing", "/api/x/y"])
def test_an_unknown_path_is_answered_in_json(tmp_path: Path, path: str) -> None:
    async def story(master: ServedMaster) -> None:
        for answer in (await master.request_tcp("GET", path), await master.request("GET", path)):
            assert (answer.status, answer.headers["content-type"]) == (404, "application/json")
            assert (answer.json["code"], answer.json["exit"]) == ("not_found", 2)
            assert path in answer.json["message"]

    run(tmp_path, story)


@pytest.mark.parametrize("method", ["DELETE", "HEAD", "PUT", "TRACE", "OPTIONS"])
def test_other_methods_are_answered_with_the_allowed_ones(tmp_path: Path, method: str) -> None:
    async def story(master: ServedMaster) -> None:
        paths = (await master.request("GET", "/api/openapi.json")).json["paths"]
        for path, operations in paths.items():
            if method.lower() in operations or (method == "HEAD" and "get" in operations):
                continue
            answer = await master.request(method, re.sub(r"\{\w+\}", "1", path))
            assert answer.status == (204 if method == "OPTIONS" else 405), path
            allowed = {each.upper() for each in operations} | {"OPTIONS"}
            allowed |= {"HEAD"} if "get" in operations else set()
            assert set(answer.headers["allow"].split(", ")) == allowed, path

    run(tmp_path, story)


def test_head_is_answered_as_get_without_the_body(tmp_path: Path) -> None:
    async def story(master: ServedMaster) -> None:
        paths = (await master.request("GET", "/api/openapi.json")).json["paths"]
        checked = 0
        for path in [each for each, operations in paths.items() if "get" in operations]:
            target = re.sub(r"\{\w+\}", "1", path)
            got, head = [await master.request(method, target) for method in ("GET", "HEAD")]
            assert (head.status, head.body) == (got.status, b""), path
            assert head.headers["content-type"] == got.headers["content-type"], path
            checked += 1
        assert checked > 10
        head = await master.request_tcp("HEAD", "/api/openapi.json")
        assert (head.status, head.body) == (200, b"")
        assert int(head.headers["content-length"]) > 1000

    run(tmp_path, story)


def test_every_operation_declares_the_error_body_and_the_statuses_of_all(tmp_path: Path) -> None:
    async def story(master: ServedMaster) -> None:
        schema = (await master.request("GET", "/api/openapi.json")).json
        properties = schema["components"]["schemas"]["ErrorBody"]["properties"]
        assert set(properties) == {"code", "message", "exit"}
        for path, operations in schema["paths"].items():
            for method, operation in operations.items():
                errors = {k: v for k, v in operation["responses"].items() if int(k) >= 400}
                assert {"400", "401", "403", "413", "415", "421", "500", "503"} <= set(errors)
                assert ("404" in errors) or "{" not in path or "semaphores" in path, path
                for status, response in errors.items():
                    [content] = response["content"].values()
                    assert content["schema"] == ERROR_BODY, (method, path, status)

    run(tmp_path, story)


def test_every_header_of_a_response_has_a_schema(tmp_path: Path) -> None:
    async def story(master: ServedMaster) -> None:
        paths = (await master.request("GET", "/api/openapi.json")).json["paths"]
        responses = [
            response
            for operations in paths.values()
            for operation in operations.values()
            for response in operation["responses"].values()
        ]
        headers = {k: v for each in responses for k, v in each.get("headers", {}).items()}
        assert {"X-Attempt", "X-Dropped"} <= set(headers)
        for name, header in headers.items():
            assert header.get("schema"), name

    run(tmp_path, story)


def test_a_request_that_is_not_http_is_answered_in_json(tmp_path: Path) -> None:
    async def story(master: ServedMaster) -> None:
        for data, status in ((b"nonsense\r\n\r\n", b"400"), (b"GET / HTTP/1.1\r\nA: ", b"431")):
            async with master.raw() as (reader, writer):
                writer.write(data + (b"x" * 40_000 if status == b"431" else b""))
                head = await reader.readuntil(b"\r\n\r\n")
                assert head.split()[1] == status
                assert b"content-type: application/json" in head
                assert b'"exit":2' in await reader.read()

    run(tmp_path, story)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_responses_to_generated_requests_match_the_document(tmp_path: Path) -> None:
    """Run all checks of schemathesis against a master whose jobs have run.

    Excepted is the acceptance of all data that match the schema: most rules of mythjobs, such as
    the existence of a command, cannot be expressed in JSON Schema.
    """
    with run_cluster(tmp_path) as cluster:
        _run_jobs(cluster)
        # The generated jobs would run arbitrary programs.
        for name in cluster.states:
            cluster.kill_agent(name)
        token = cluster.state.token.read_text().strip()
        info = read_master_info(cluster.state)
        assert info is not None
        done = subprocess.run(
            [
                *(
                    sys.executable,
                    "-m",
                    "schemathesis.cli",
                    "run",
                    f"{info.address}/api/openapi.json",
                ),
                *("--header", f"Authorization: Bearer {token}"),
                *("--checks", "all", "--exclude-checks", "positive_data_acceptance"),
                *("--max-examples", os.environ.get("SCHEMATHESIS_EXAMPLES", "5"), "--seed", "1"),
                *("--continue-on-failure", "--no-shrink", "--warnings", "off", "--no-color"),
            ],
            cwd=tmp_path,
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "SCHEMATHESIS_HOOKS": "tests.integration.web.openapi_hooks",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
    assert done.returncode == 0, done.stdout[-20_000:]


def _run_jobs(cluster: LocalCluster) -> None:
    """Leave an ended, a failed, a cancelled, a held and a waiting job, and a batch."""
    cluster.post("commands", {"definition": NOTE})
    cluster.post("commands", {"definition": {"name": "fail", "argv": ["/bin/false"]}})
    ended = [cluster.post("jobs", {"command": each})["id"] for each in ("note", "fail")]

    def have_ended() -> bool:
        return all(cluster.get(f"jobs/{each}")["ended_ms"] is not None for each in ended)

    wait_until(have_ended, "the jobs have not ended")
    held: dict[str, Any] = {"command": "note", "hold": True}
    cancelled, _ = (cluster.post("jobs", held)["id"] for _ in range(2))
    cluster.post("jobs/cancel", {"ids": [cancelled]})
    cluster.post("jobs", {"command": "note", "after": [{"job": cancelled}]})
