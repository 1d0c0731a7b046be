"""Responses and errors of the API, through real sockets to a real master."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from mythjobs.errors import StoreFull
from mythjobs.web.routes import batches
from tests.integration.web.served_master import NOTE, ServedMaster, run


async def _define(master: ServedMaster, **changed: Any) -> None:
    answer = await master.api("POST", "/commands", {"definition": NOTE | changed})
    assert answer.status == 201, answer.body


def test_commands_are_defined_listed_and_shown(tmp_path: Path) -> None:
    async def story(master: ServedMaster) -> None:
        await _define(master)
        again = await master.api("POST", "/commands", {"definition": NOTE})
        assert (again.status, again.json["code"], again.json["exit"]) == (409, "conflict", 2)
        changed = NOTE | {"summary": "Say it"}
        answer = await master.api("POST", "/commands", {"definition": changed, "replace": True})
        done = answer.json
        assert (done["name"], done["revision"], done["changed"]) == ("note", 2, True)
        assert "no machine has joined" in done["nowhere"]

        listed = (await master.api("GET", "/commands")).json["commands"]
        assert {each["name"]: each["parameters"] for each in listed}["note"] == ["text", "times"]
        assert (await master.api("GET", "/commands/note")).json["statistics"] is None
        shown = (await master.api("GET", "/commands/note?statistics=true")).json
        assert shown["definition"]["summary"] == "Say it"
        assert (shown["statistics"]["jobs"], shown["statistics"]["median_s"]) == (0, None)

        # Older revisions stay readable.
        old = (await master.api("GET", "/commands/note?revision=1")).json
        assert (old["revision"], "summary" in old["definition"]) == (1, False)
        every = (await master.api("GET", "/commands/note/revisions")).json["revisions"]
        assert [each["revision"] for each in every] == [2, 1]
        missing = await master.api("GET", "/commands/note?revision=3")
        assert (missing.status, "no revision 3" in missing.json["message"]) == (400, True)

    run(tmp_path, story)


def test_jobs_of_a_disabled_command_wait_for_that_reason(tmp_path: Path) -> None:
    async def story(master: ServedMaster) -> None:
        await _define(master)
        url = "/api/v1/commands/note/enabled"
        off = await master.request("POST", url, {"on": False})
        assert off.json == {"name": "note", "enabled": False, "until_ms": None}
        submitted = (await master.api("POST", "/jobs", {"command": "note"})).json
        assert "`mythjobs command enable note`" in submitted["reason"]
        [load] = (await master.api("GET", "/status")).json["commands"]
        assert (load["name"], load["queued"], load["enabled"]) == ("note", 1, False)
        assert (await master.request("POST", url, {"on": True})).json["enabled"] is True
        assert (await master.api("POST", "/commands/no/enabled", {"on": True})).status == 404

    run(tmp_path, story)


def test_a_command_is_removed(tmp_path: Path) -> None:
    async def story(master: ServedMaster) -> None:
        await _define(master)
        await master.api("POST", "/jobs", {"command": "note"})
        refused = await master.request("DELETE", "/api/v1/commands/note")
        assert refused.status == 409
        assert refused.json["message"] == (
            "cannot remove note: 1 job has not ended; `mythjobs cancel --command note` cancels all "
            "that have not"
        )
        await master.api("POST", "/jobs/cancel", {"ids": [1]})
        assert (await master.api("DELETE", "/commands/note")).json == {"name": "note"}
        assert (await master.api("GET", "/commands/note")).status == 404

    run(tmp_path, story)


def test_a_job_is_submitted_shown_held_and_cancelled(tmp_path: Path) -> None:
    async def story(master: ServedMaster) -> None:
        await _define(master)
        body = {"command": "note", "arguments": {"text": "7"}, "key": "k", "comment": "ü\n"}
        first = await master.api("POST", "/jobs", body)
        assert (first.status, first.json["new"], first.json["state"]) == (201, True, "queued")
        job_id = first.json["id"]
        again = await master.api("POST", "/jobs", body)
        assert (again.status, again.json["new"], again.json["id"]) == (200, False, job_id)

        job = (await master.api("GET", f"/jobs/{job_id}")).json
        # An argument keeps its type: the string "7" does not become a number.
        assert job["arguments"]["text"] == "7"
        assert job["submitter"]
        why = (await master.api("GET", f"/jobs/{job_id}/why")).json
        assert why["sentence"]

        act = {"ids": [job_id, 999]}
        for name, done in (("hold", "held"), ("release", "released"), ("cancel", "cancelled")):
            [acted, missing] = (await master.api("POST", f"/jobs/{name}", act)).json["jobs"]
            assert (acted["id"], acted["done"], acted["error"]) == (job_id, done, "")
            assert missing["error"]
        listed = (await master.api("GET", "/jobs?state=cancelled&limit=1")).json
        assert [each["id"] for each in listed["jobs"]] == [job_id]

    run(tmp_path, story)


def test_a_wait_ends_with_the_job_or_after_its_timeout(tmp_path: Path) -> None:
    async def story(master: ServedMaster) -> None:
        await _define(master)
        await master.api("POST", "/jobs", {"command": "note"})
        assert (await master.api("GET", "/jobs/1?wait=0.01")).json["state"] == "queued"
        waiting = asyncio.ensure_future(master.api("GET", "/jobs/1?wait=60"))
        await master.api("POST", "/jobs/cancel", {"ids": [1]})
        assert (await asyncio.wait_for(waiting, 60)).json["state"] == "cancelled"

    run(tmp_path, story)


def test_a_batch_is_streamed_to_a_temporary_file(tmp_path: Path) -> None:
    async def story(master: ServedMaster) -> None:
        await _define(master)
        url = "/api/v1/batches?command=note&priority=3&comment=all"
        lines = b"".join(b'{"text": "%d"}\n' % number for number in range(5000))
        loaded = (await master.request("POST", url, lines)).json
        assert loaded["jobs"] == 5000
        assert loaded["ids"][1] - loaded["ids"][0] == 4999
        batch = (await master.api("GET", f"/batches/{loaded['batch']}")).json
        assert (batch["jobs"], batch["over"]) == (5000, False)
        job = (await master.api("GET", f"/jobs/{loaded['ids'][1]}")).json
        assert (job["priority"], job["comment"], job["arguments"]["text"]) == (3, "all", "4999")

        bad = await master.request("POST", url, b'{"text": "a"}\n{"text": 1, "no": 2}\n')
        assert (bad.status, "2" in bad.json["message"]) == (400, True)
        assert (await master.api("POST", "/batches", b"")).status == 400
        assert list(master.state_dir.uploads.iterdir()) == []

    run(tmp_path, story)


def test_uploads_of_a_killed_master_are_deleted(tmp_path: Path) -> None:
    (tmp_path / "uploads").mkdir()
    (tmp_path / "uploads/0.jsonl").write_bytes(b"{}")
    batches.remove_stale_uploads(tmp_path / "uploads")
    assert list((tmp_path / "uploads").iterdir()) == []


DEEP = b'{"definition": {"name": ' + b"[" * 100_000 + b"]" * 100_000 + b"}}"


@pytest.mark.parametrize(
    "method, path, body, names",
    [
        ("POST", "/jobs", b"", "body"),
        ("POST", "/jobs", b"{", "truncated"),
        ("POST", "/jobs", b'{"command": "note", "\xff": 1}', ""),
        ("POST", "/jobs", {"command": 1}, "command"),
        ("POST", "/jobs", {"command": "note", "priority": "5"}, "priority"),
        ("POST", "/jobs", {"command": "note", "hold": 1}, "hold"),
        ("POST", "/jobs", {"command": "note", "colour": "red"}, "colour"),
        ("POST", "/jobs", {"command": "note", "after": [{"job": 1, "when": "x"}]}, "when"),
        ("POST", "/jobs", {"command": "note", "priority": 2**70}, ""),
        ("POST", "/jobs", {"command": "note", "not_before_ms": 2**70}, ""),
        ("POST", "/jobs", {"command": "note", "not_before_ms": -(2**70)}, ""),
        ("POST", "/jobs", {"command": "note", "after": [{"job": 2**70}]}, ""),
        ("POST", "/jobs", {"command": "note", "arguments": {"text": "a\0b"}}, ""),
        ("POST", "/jobs", {"command": "note", "subject": "x" * 1_000_000}, ""),
        ("POST", "/jobs", {"command": "note", "key": "\ud800"}, ""),
        ("POST", "/jobs", {"command": "run"}, ""),
        (
            "POST",
            "/jobs",
            {"command": "run", "run": {"argv": ["true"]}, "arguments": {"a": 1}},
            "arguments",
        ),
        ("POST", "/jobs/cancel", {"ids": []}, "ids"),
        ("POST", "/commands", DEEP, ""),
        ("POST", "/commands", {"definition": {}}, "argv"),
        ("GET", "/jobs?states=failed", None, '"states"; known are state, command'),
        ("GET", "/jobs?limit=1&limit=2", None, "limit: is given twice"),
        ("GET", "/status?verbose=1", None, '"verbose"; it has none'),
        ("GET", "/jobs/1/output?attempts=1", None, '"attempts"'),
        ("POST", "/jobs?hold=true", {"command": "note"}, '"hold"'),
        ("POST", "/batches?command=note&labels=gpu", b"{}\n", '"labels"'),
        ("GET", "/jobs?state=lost", None, "state"),
        ("GET", "/jobs?limit=0", None, "limit"),
        ("GET", "/jobs?limit=many", None, "limit"),
        ("GET", "/jobs?before=99999999999999999999", None, "before: must be from 1"),
        ("GET", "/jobs?before=0", None, "before: must be from 1"),
        ("GET", "/jobs/1?wait=nan", None, "wait"),
        ("GET", "/jobs/1?wait=-1", None, "wait"),
        ("GET", "/jobs/1/output?stream=3", None, "stream"),
        ("GET", "/jobs/1/output?offset=-1", None, "offset"),
        ("GET", "/jobs/1/output?attempt=9", None, "has not run"),
        ("GET", "/jobs/1/output", None, "has not run"),
        ("POST", "/machines/vm", {"jobs": -1}, "jobs"),
        ("POST", "/jobs", {"command": "note", "deadline_ms": 2**70}, ""),
        ("POST", "/jobs", {"command": "note", "deadline_ms": -1}, "deadline_ms"),
        ("POST", "/jobs", {"command": "note", "limits": {"wall": "soon"}}, "limits.wall"),
        ("POST", "/jobs", {"command": "note", "labels": ["G"]}, "labels"),
        ("POST", "/jobs/all", {"act": "cancel"}, "no jobs selected"),
        ("POST", "/jobs/all", {"act": "hold", "states": ["running"]}, "only on queued"),
        ("POST", "/jobs/all", {"act": "burn", "command": "note"}, "act"),
        ("POST", "/jobs/all", {"act": "hold", "batch": 2**70}, "there is no batch 1180"),
        ("POST", "/batches?command=note&limit=wall=1h&limit=wall=2h", b"{}\n", "given twice"),
        ("GET", "/jobs?batch=99999999999999999999", None, "there is no batch 9999"),
        ("GET", "/jobs/count?batch=99999999999999999999", None, "there is no batch 9999"),
        ("GET", "/jobs/count?state=lost", None, "state"),
        ("GET", "/jobs/count?ended_before_ms=-1", None, "ended_before_ms"),
        ("POST", "/batches?command=note&limit=wall", b"{}\n", "limit"),
        ("POST", "/batches?command=note&semaphore=nas=x", b"{}\n", "number of units"),
        ("GET", "/commands/note?revision=0", None, "revision"),
        ("POST", "/batches?command=note&priority=1000", b"{}\n", ""),
        ("POST", "/batches?command=note", b'{}\n{"text": "\xff"}\n', "line 2"),
        ("POST", "/batches?command=note", b'{"times": "many"}\n', "line 1"),
    ],
)
def test_an_invalid_request_is_rejected_with_the_reason(
    tmp_path: Path, method: str, path: str, body: Any, names: str
) -> None:
    async def story(master: ServedMaster) -> None:
        await _define(master)
        await master.api("POST", "/jobs", {"command": "note", "hold": True})
        answer = await master.request(method, "/api/v1" + path, body)
        assert answer.status in (400, 404), answer.body
        assert set(answer.json) == {"code", "message", "exit"}
        assert answer.json["exit"] == 2
        assert names in answer.json["message"]

    run(tmp_path, story)


@pytest.mark.parametrize(
    "method, path, status, code",
    [
        ("GET", "/api/v1/jobs/7", 404, "no_such_job"),
        ("GET", "/api/v1/jobs/99999999999999999999999", 404, "no_such_job"),
        ("GET", "/api/v1/jobs/-1", 404, None),
        ("GET", "/api/v1/jobs/7/why", 404, "no_such_job"),
        ("GET", "/api/v1/jobs/7/output", 404, "no_such_job"),
        ("GET", "/api/v1/jobs/seven", 404, "not_found"),
        ("GET", "/api/v1/jobs/%D9%A1", 404, "not_found"),  # U+0661, the Arabic digit one
        ("GET", "/api/v1/jobs/+7", 404, "not_found"),
        ("GET", "/api/v1/jobs/1_0/why", 404, "not_found"),
        ("GET", "/api/v1/batches/07", 404, "not_found"),
        ("GET", "/api/v1/jobs?batch=9", 404, "no_such_job"),
        ("GET", "/api/v1/jobs/count?batch=9", 404, "no_such_job"),
        ("GET", "/api/v1/batches/7", 404, None),
        ("GET", "/api/v1/commands/none", 404, "no_such_command"),
        ("POST", "/api/v1/machines/none", 404, "no_such_machine"),
        ("GET", "/nothing", 404, "not_found"),
        ("PUT", "/api/v1/jobs", 405, "method_not_allowed"),
        ("GET", "/link", 404, "not_found"),
    ],
)
def test_unknown_objects_and_routes_answer_with_an_error_body(
    tmp_path: Path, method: str, path: str, status: int, code: str | None
) -> None:
    async def story(master: ServedMaster) -> None:
        answer = await master.request(method, path, {} if method == "POST" else None)
        assert answer.status == status, answer.body
        assert set(answer.json) == {"code", "message", "exit"}
        assert code in (None, answer.json["code"])

    run(tmp_path, story)


def test_an_internal_error_is_answered_and_its_traceback_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def story(master: ServedMaster) -> None:
        async def broken() -> dict[str, Any]:
            raise ZeroDivisionError("secret")

        monkeypatch.setattr(master.master, "read_status", broken)
        answer = await master.api("GET", "/status")
        assert (answer.status, answer.json["exit"]) == (500, 70)
        assert "secret" not in answer.json["message"]
        assert "ZeroDivisionError: secret" in caplog.text

        async def ill() -> dict[str, Any]:
            raise StoreFull("the disk is full")

        monkeypatch.setattr(master.master, "read_status", ill)
        answer = await master.api("GET", "/status")
        assert answer.status == 507
        assert answer.json == {"code": "store_full", "message": "the disk is full", "exit": 74}

    run(tmp_path, story)


def test_the_schema_lists_the_routes_and_refers_to_no_other_server(tmp_path: Path) -> None:
    async def story(master: ServedMaster) -> None:
        answer = await master.request("GET", "/api/openapi.json")
        text = json.dumps(answer.json)
        assert "cdn" not in text
        # tests/architecture/test_docs.py compares the routes with docs/api.md.
        assert len(answer.json["paths"]) > 20
        assert all(path.startswith("/api/v1/") for path in answer.json["paths"])

    run(tmp_path, story)


def test_a_wait_ends_when_the_client_disconnects(tmp_path: Path) -> None:
    async def story(served: ServedMaster) -> None:
        await _define(served)
        await served.api("POST", "/jobs", {"command": "note", "hold": True})
        disconnected: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = asyncio.ensure_future(served.master.wait_job(1, 3600.0, disconnected))
        disconnected.set_result(None)
        assert (await asyncio.wait_for(waiting, 60))["state"] == "queued"

    run(tmp_path, story)
