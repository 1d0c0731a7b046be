"""Routes for notifications and channels, on a real master with a real child process."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from mythjobs.model.incident import DEFAULT_KINDS
from tests.integration.web.served_master import NOTE, ServedMaster, run
from tests.support.disks import fill_disk, mount_small_disk
from tests.support.message_services import http_service

pytestmark = pytest.mark.slow


def test_channels_are_added_tested_snoozed_and_removed(tmp_path: Path) -> None:
    async def story(master: ServedMaster) -> None:
        with http_service() as service:
            url = f"json://user:secret@127.0.0.1:{service.port}/token"
            added = await master.api("POST", "/channels/hook", {"url": url})
            [channel] = added.json["channels"]
            assert channel["url"] == f"json://127.0.0.1:{service.port}/…"
            assert channel["kinds"] == list(DEFAULT_KINDS)
            assert b"secret" not in added.body
            again = await master.api("POST", "/channels/hook", {"url": url})
            assert (again.status, again.json["code"]) == (409, "conflict")
            replaced = await master.api(
                "POST", "/channels/hook", {"url": url, "kinds": ["lost"], "replace": True}
            )
            assert [each["kinds"] for each in replaced.json["channels"]] == [["lost"]]
            tested = await master.api("POST", "/channels/hook/test")
            assert tested.json == {"name": "hook", "sent": True, "error": ""}
            assert service.received[0]["title"] == "mythjobs: test"
            service.status = 500
            tested = await master.api("POST", "/channels/hook/test")
            assert not tested.json["sent"]
            assert "500" in tested.json["error"]

        snooze = {"name": "hook", "until_ms": 4_000_000_000_000}
        snoozed = await master.api("POST", "/snooze", snooze)
        assert snoozed.json["channels"][0]["snoozed_ms"] == 4_000_000_000_000
        ended = await master.api("POST", "/snooze", {})
        assert ended.json["channels"][0]["snoozed_ms"] is None
        removed = await master.api("DELETE", "/channels/hook")
        assert removed.json == {"channels": [], "snoozed": [], "heartbeat": ""}
        for method, path in (("DELETE", "/channels/hook"), ("POST", "/channels/hook/test")):
            missing = await master.api(method, path)
            assert (missing.status, missing.json["code"]) == (404, "no_such_channel")

    run(tmp_path, story)


def test_invalid_channels_are_refused_with_the_reason(tmp_path: Path) -> None:
    async def story(master: ServedMaster) -> None:
        for name, body, reason in (
            ("hook", {"url": "nonsense"}, "the URL is not valid"),
            ("Hook", {"url": "json://127.0.0.1/"}, "the channel name"),
            ("hook", {"url": "json://127.0.0.1/", "kinds": ["x"]}, 'there is no kind "x"'),
            ("hook", {"url": "json://127.0.0.1/", "kinds": []}, "no kinds"),
            ("hook", {"url": "json://127.0.0.1/", "commands": ["x"]}, 'no command "x"'),
            ("hook", {"url": "json://127.0.0.1/", "template": "{x}"}, "there is no {x}"),
            ("hook", {"url": ""}, "the URL of channel hook has 0 characters"),
            ("hook", {}, "url"),
        ):
            refused = await master.api("POST", f"/channels/{name}", body)
            assert refused.status in (400, 404), body
            assert reason in refused.json["message"]
        unknown = await master.api("POST", "/snooze", {"name": "x", "until_ms": 4_000_000_000_000})
        assert "no channel, command, schedule or machine" in unknown.json["message"]
        none = await master.api("POST", "/snooze", {"until_ms": 4_000_000_000_000})
        assert "no channel to snooze" in none.json["message"]
        assert (await master.api("GET", "/channels")).json["channels"] == []

    run(tmp_path, story)


def test_a_key_file_that_cannot_be_used_is_named_with_a_remedy(tmp_path: Path) -> None:
    # Seen with a state directory that was not writable: "internal error in the master".
    async def story(master: ServedMaster) -> None:
        key_file = master.state_dir.root / "secrets.key"
        key_file.mkdir()
        refused = await master.api("POST", "/channels/hook", {"url": "json://127.0.0.1/"})
        assert refused.json["code"] == "state_not_writable"
        assert f"cannot use {key_file}: Is a directory; see that it belongs" in str(refused.json)
        assert (await master.api("GET", "/channels")).json["channels"] == []

    run(tmp_path, story)


def test_a_command_is_snoozed_by_its_name(tmp_path: Path) -> None:
    async def story(master: ServedMaster) -> None:
        await master.api("POST", "/commands", {"definition": NOTE, "replace": False})
        until_ms = 4_000_000_000_000
        snoozed = await master.api("POST", "/snooze", {"name": "note", "until_ms": until_ms})
        assert snoozed.json["snoozed"] == [
            {"kind": "command", "name": "note", "until_ms": until_ms}
        ]
        ended = await master.api("POST", "/snooze", {"name": "note"})
        assert ended.json["snoozed"] == []

    run(tmp_path, story)


def test_notifications_are_listed_counted_and_read(tmp_path: Path) -> None:
    async def story(master: ServedMaster) -> None:
        await master.api("POST", "/commands", {"definition": NOTE, "replace": False})
        job = {"command": "note", "deadline_ms": 1}
        for _ in range(3):
            await master.api("POST", "/jobs", job)
        async with asyncio.timeout(60):
            while (await master.api("GET", "/status")).json["notifications"] != 1:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        [found] = (await master.api("GET", "/notifications?unread=true")).json["notifications"]
        assert (found["kind"], found["name"], found["read"]) == ("missed", "note", False)
        read = await master.api("POST", "/notifications/read", {"ids": [found["id"], 77, -1]})
        assert read.json == {"read": [found["id"]]}
        assert (await master.api("POST", "/notifications/read", {})).json == {"read": []}
        unread = await master.api("GET", "/notifications?unread=true")
        assert unread.json == {"notifications": []}
        assert len((await master.api("GET", "/notifications")).json["notifications"]) == 1
        assert (await master.api("GET", "/status")).json["notifications"] == 0
        assert (await master.api("GET", "/messages")).json == {"messages": []}
        assert (await master.api("GET", "/notifications?limit=0")).status == 400

    run(tmp_path, story)


def test_the_heartbeat_url_of_the_master_is_called_first(tmp_path: Path) -> None:
    async def story(master: ServedMaster) -> None:
        with http_service() as service:
            url = f"http://127.0.0.1:{service.port}/uuid"
            added = await master.api("POST", "/heartbeat", {"url": url})
            assert added.json["heartbeat"] == f"http://127.0.0.1:{service.port}/…"
            assert service.called == ["/uuid"]
            service.status = 404
            refused = await master.api("POST", "/heartbeat", {"url": url})
            assert "the service answered 404" in refused.json["message"]
        off = await master.api("POST", "/heartbeat", {"url": ""})
        assert off.json["heartbeat"] == ""
        invalid = await master.api("POST", "/heartbeat", {"url": "x"})
        assert "is not a URL to call" in invalid.json["message"]

    run(tmp_path, story)


def test_a_full_disk_is_no_internal_error(tmp_path: Path) -> None:
    async def story(master: ServedMaster) -> None:
        fill_disk(disk)
        for path, body in (
            ("/channels/hook", {"url": "json://127.0.0.1/"}),
            ("/network", {"open": True}),
        ):
            refused = await master.api("POST", path, body)
            assert refused.json["code"] == "state_not_writable", refused.body
            assert refused.json["exit"] == os.EX_CANTCREAT
            assert "No space left on device; free space on its disk" in refused.json["message"]

    with mount_small_disk(tmp_path) as disk:
        run(disk, story)
