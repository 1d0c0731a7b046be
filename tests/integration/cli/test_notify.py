"""`mythjobs notify` and `mythjobs notifications` against sample responses."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from mythjobs.model.incident import DEFAULT_KINDS, KINDS
from tests.integration.cli.conftest import Call
from tests.integration.cli.samples import STATUS
from tests.integration.cli.scripted import Master

CHANNEL: dict[str, Any] = {
    "name": "mail",
    "url": "mailto://example.org/…",
    "kinds": list(DEFAULT_KINDS),
    "commands": [],
    "template": "",
    "created_ms": 1_800_000_000_000,
    "snoozed_ms": None,
    "failing_ms": None,
    "error": "",
    "sent_ms": None,
}
CHANNELS: dict[str, Any] = {"channels": [CHANNEL], "snoozed": [], "heartbeat": ""}
NOTIFICATION: dict[str, Any] = {
    "id": 3,
    "kind": "failed",
    "name": "backup",
    "count": 1000,
    "affected": 0,
    "since_ms": 1_800_000_000_000,
    "last_ms": 1_800_000_060_000,
    "ended_ms": None,
    "recovered_ms": None,
    "read": False,
    "job": 12,
    "attempt": 1,
    "machine": "attic",
    "sentence": "exit code 3",
}
URL = "mailto://user:secret@example.org"


def test_notifications_lists_what_is_unread(call: Call, master: Master) -> None:
    master.answers["GET notifications"] = {"notifications": [NOTIFICATION]}
    done = call("notifications")
    assert done.code == 0
    assert done.out.splitlines()[1].split()[-7:] == [
        "failed", "backup", "1000", "12", "exit", "code", "3",
    ]  # fmt: skip
    assert "--read` marks them" in done.err
    assert master.requests[0].query == {"limit": "100", "unread": "true"}
    assert json.loads(call("notifications", "--json").out) == [NOTIFICATION]


def test_notifications_can_be_marked_as_read(call: Call, master: Master) -> None:
    lost = NOTIFICATION | {
        "id": 4, "kind": "lost", "job": None, "affected": 2, "recovered_ms": 1_800_000_060_000,
        "read": True,
    }  # fmt: skip
    master.answers["GET notifications"] = {"notifications": [lost, NOTIFICATION]}
    master.answers["POST notifications/read"] = {"read": [3]}
    done = call("notifications", "--all", "--read")
    assert "2 of its jobs failed or are held; is back since" in done.out
    assert done.err == ""
    assert master.requests[0].query == {"limit": "100"}
    assert master.requests[1].json == {"ids": [3]}


def test_an_empty_list_says_so(call: Call, master: Master) -> None:
    master.answers["GET notifications"] = {"notifications": []}
    assert call("notifications") == (0, "no unread notifications\n", "")
    assert call("notifications", "--all", "--read") == (0, "no notifications\n", "")


def test_status_counts_what_is_unread_and_names_failing_channels(
    call: Call, master: Master
) -> None:
    failing = {"name": "mail", "since_ms": 1_800_000_000_000, "error": "connection refused"}
    master.answers["GET status"] = STATUS | {"notifications": 1, "failing_channels": [failing]}
    error = call("status").err
    assert "1 unread notification; `mythjobs notifications` shows them" in error
    assert "messages to the channel mail have failed since" in error
    master.answers["GET status"] = STATUS | {"notifications": 100}
    assert "100 or more unread notifications" in call("status").err


def test_a_channel_is_added_from_options(call: Call, master: Master, tmp_path: Path) -> None:
    master.answers["POST channels/mail"] = CHANNELS
    template = tmp_path / "template"
    template.write_text("{title}\n{lines}")
    done = call(
        "notify", "add", "mail", URL, "--for", "failed, missed", "--command", "backup",
        "--command", "copy", "--template", str(template),
    )  # fmt: skip
    assert done.code == 0
    assert "channel mail added: mailto://example.org/…" in done.out
    assert "secret" not in done.out + done.err
    assert master.requests[0].json == {
        "url": URL,
        "kinds": ["failed", "missed"],
        "commands": ["backup", "copy"],
        "template": "{title}\n{lines}",
        "replace": False,
    }
    call("notify", "add", "mail", URL, "--for", "all", "--replace")
    assert master.requests[1].json["kinds"] == list(KINDS)
    assert master.requests[1].json["replace"] is True


def test_a_url_is_read_from_stdin(
    call: Call, master: Master, monkeypatch: pytest.MonkeyPatch
) -> None:
    master.answers["POST channels/mail"] = CHANNELS
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(f"{URL}\n".encode())))
    assert call("notify", "add", "mail").code == 0
    assert master.requests[0].json == {"url": URL, "commands": [], "replace": False}


def test_wrong_options_of_add_are_refused(call: Call, master: Master) -> None:
    done = call("notify", "add", "mail", URL, "--for", "lots")
    assert done.code == 2
    assert '"lots" is none of failed,' in done.err
    done = call("notify", "add", "mail", URL, "--template", "/nowhere")
    assert done.code == 2
    assert "cannot read the template /nowhere" in done.err
    assert master.requests == []


def test_list_shows_state_and_snoozes(call: Call, master: Master) -> None:
    snoozed = CHANNEL | {"name": "a", "snoozed_ms": 4_000_000_000_000, "commands": ["backup"]}
    failing = CHANNEL | {"name": "b", "failing_ms": 1_800_000_000_000, "error": "no route"}
    some = CHANNEL | {"name": "c", "kinds": ["failed"]}
    master.answers["GET channels"] = {
        "channels": [CHANNEL, snoozed, failing, some],
        "snoozed": [{"kind": "command", "name": "copy", "until_ms": 4_000_000_000_000}],
        "heartbeat": "https://hc.example/…",
    }
    lines = call("notify", "list").out.splitlines()
    assert "all but batch" in lines[1]
    assert lines[1].endswith("ok")
    assert "snoozed until" in lines[2]
    assert lines[3].endswith(": no route")
    assert "failed" in lines[4]
    assert lines[5].startswith("no messages about command copy until")
    assert lines[6] == "heartbeat of the master: https://hc.example/…, every minute"
    master.answers["GET channels"] = CHANNELS | {"channels": []}
    assert "no channels; `mythjobs notify add NAME URL` adds one" in call("notify", "list").out


def test_a_failed_test_message_has_an_exit_code(call: Call, master: Master) -> None:
    master.answers["POST channels/mail/test"] = {"name": "mail", "sent": True, "error": ""}
    assert call("notify", "test", "mail") == (0, "test message sent to mail\n", "")
    failed = {"name": "mail", "sent": False, "error": "refused"}
    master.answers["POST channels/mail/test"] = failed
    assert call("notify", "test", "mail") == (1, "", "mythjobs: cannot send to mail: refused\n")
    done = call("notify", "test", "mail", "--json")
    assert (done.code, json.loads(done.out)) == (1, failed)
    assert call("notify", "test", "a/b").code == 2


def test_snooze_takes_a_duration_or_an_end(call: Call, master: Master) -> None:
    master.answers["POST snooze"] = CHANNELS
    assert call("notify", "snooze", "--for", "2h").out.startswith("all channels snoozed until")
    assert master.requests[0].json["name"] == ""
    assert call("notify", "snooze", "mail", "--end").out == "mail no longer snoozed\n"
    assert master.requests[1].json == {"name": "mail", "until_ms": None}
    for arguments in ((), ("--for", "1h", "--end")):
        done = call("notify", "snooze", *arguments)
        assert done.code == 2
        assert "either --for DURATION or --end" in done.err


def test_remove_history_and_heartbeat(call: Call, master: Master) -> None:
    master.answers["DELETE channels/mail"] = CHANNELS
    assert call("notify", "remove", "mail") == (0, "channel mail removed\n", "")
    message = {
        "id": 1, "channel": "mail", "kind": "failed", "title": "backup failed", "state": "failed",
        "created_ms": 1_800_000_000_000, "sent_ms": None, "next_ms": None, "tries": 8,
        "error": "refused",
    }  # fmt: skip
    beat = message | {"channel": "", "kind": "heartbeat", "state": "sent", "title": "start"}
    master.answers["GET messages"] = {"messages": [message, beat]}
    lines = call("notify", "history").out.splitlines()
    assert "backup failed" in lines[1]
    assert " heartbeat " in lines[2]
    master.answers["POST heartbeat"] = CHANNELS | {"heartbeat": "https://hc.example/…"}
    done = call("notify", "heartbeat", "https://hc.example/uuid")
    assert done.out == "the master calls https://hc.example/… every minute\n"
    master.answers["POST heartbeat"] = CHANNELS
    assert call("notify", "heartbeat", "--off").out == "the master calls no heartbeat URL\n"
    assert call("notify", "heartbeat").code == 2
