"""POST /jobs: the plain route answers like the route of Litestar, which `/jobs/` still reaches."""

from pathlib import Path
from typing import Any

import pytest

from mythjobs.errors import StoreFull
from tests.integration.web.served_master import NOTE, ServedMaster, run

BODIES: list[Any] = [
    {"command": "note", "hold": True, "key": "again"},
    {"command": "note", "hold": True, "key": "again", "priority": 5},
    b"",
    b"{",
    b'{"command": "note"} x',
    b'{"command": "\xff"}',
    b'{"command": ' + b"[" * 100_000,
    [],
    {"command": 1},
    {"command": "note", "colour": "red"},
    {"command": "note", "priority": 1000},
    {"command": "note", "not_before_ms": 2**70},
    {"command": "note", "after": [{"job": 77}]},
    {"command": "note", "after": [{"job": -1}]},
    {"command": "nothing"},
]


async def _define(master: ServedMaster) -> None:
    await master.api("POST", "/commands", {"definition": NOTE})


def test_both_routes_give_the_same_answers(tmp_path: Path) -> None:
    async def story(master: ServedMaster) -> None:
        await _define(master)
        await master.api("POST", "/jobs", BODIES[0])
        for body in BODIES:
            plain = await master.api("POST", "/jobs", body)
            through_litestar = await master.api("POST", "/jobs/", body)
            assert plain == through_litestar, body

    run(tmp_path, story)


def test_a_body_in_several_parts_is_accepted(tmp_path: Path) -> None:
    async def story(master: ServedMaster) -> None:
        await _define(master)
        async with master.raw() as (reader, writer):
            head = "POST /api/v1/jobs HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
            writer.write(f"{head}Authorization: {master.headers['Authorization']}\r\n\r\n".encode())
            for part in (b'{"command": "no', b'te", "hold": true}', b""):
                writer.write(b"%x\r\n%b\r\n" % (len(part), part))
                await writer.drain()
            assert (await reader.readline()).startswith(b"HTTP/1.1 201 ")

    run(tmp_path, story)


@pytest.mark.parametrize("path", ["/jobs", "/jobs/"])
def test_errors_of_the_master_are_answered(
    tmp_path: Path, path: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def story(master: ServedMaster) -> None:
        async def broken(_: object) -> None:
            raise ZeroDivisionError("secret")

        monkeypatch.setattr(master.master, "execute", broken)
        answer = await master.api("POST", path, {"command": "note"})
        message = "internal error in the master (ZeroDivisionError); see its log"
        assert answer.status == 500
        assert answer.json == {"code": "internal", "message": message, "exit": 70}
        assert "ZeroDivisionError: secret" in caplog.text

        async def full(_: object) -> None:
            raise StoreFull("the disk is full")

        monkeypatch.setattr(master.master, "execute", full)
        answer = await master.api("POST", path, {"command": "note"})
        assert answer.status == 507
        assert answer.json == {"code": "store_full", "message": "the disk is full", "exit": 74}

    run(tmp_path, story)
