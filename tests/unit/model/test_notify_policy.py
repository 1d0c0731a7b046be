from __future__ import annotations

import pytest

from mythjobs.errors import DefinitionError
from mythjobs.model.heartbeat_url import FAILURE, START, SUCCESS, HeartbeatCall, make_call_url
from mythjobs.model.notify_policy import NO_NOTIFY_POLICY, read_notify_policy
from mythjobs.model.schedule import schedule_from_table


def test_a_definition_without_settings_has_the_defaults() -> None:
    assert read_notify_policy({"name": "x"}) is NO_NOTIFY_POLICY


def test_settings_of_a_definition() -> None:
    table = {
        "notify": {"events": ["failed"], "template": "{title}"},
        "heartbeat": "https://hc.example/uuid",
    }
    policy = read_notify_policy(table)
    assert policy.kinds == ("failed",)
    assert policy.template == "{title}"
    assert policy.heartbeat == "https://hc.example/uuid"
    assert read_notify_policy({"notify": {"events": []}}).kinds == ()


@pytest.mark.parametrize(
    "table, key",
    [
        ({"notify": 1}, "notify"),
        ({"notify": {"x": 1}}, "notify.x"),
        ({"notify": {"events": "failed"}}, "notify.events"),
        ({"notify": {"events": ["lots"]}}, "notify.events"),
        ({"notify": {"template": "{x}"}}, "notify.template"),
        ({"heartbeat": "hc.example"}, "heartbeat"),
        ({"heartbeat": "ftp://hc.example/x"}, "heartbeat"),
        ({"heartbeat": "https://hc.example/a b"}, "heartbeat"),
        ({"heartbeat": "https:///x"}, "heartbeat"),
        ({"heartbeat": "https://[::1/x"}, "heartbeat"),
        ({"heartbeat": "https://[x]/"}, "heartbeat"),
        ({"heartbeat": "https://hc.example:99999/x"}, "heartbeat"),
        ({"heartbeat": "https://hc.example:x/"}, "heartbeat"),
        ({"heartbeat": "https://:80/x"}, "heartbeat"),
        ({"heartbeat": "https://user@/x"}, "heartbeat"),
        ({"heartbeat": 5}, "heartbeat"),
    ],
)
def test_invalid_settings_name_their_key(table: dict[str, object], key: str) -> None:
    with pytest.raises(DefinitionError) as error:
        read_notify_policy(table)
    assert error.value.key == key


def test_a_schedule_has_a_heartbeat_url() -> None:
    table = {"name": "n", "command": "c", "every": "1h", "heartbeat": "https://hc.example/x"}
    assert schedule_from_table(table).heartbeat == "https://hc.example/x"
    with pytest.raises(DefinitionError, match="heartbeat: is not a URL"):
        schedule_from_table(table | {"heartbeat": "x"})


def call(event: str, code: int | None = None, url: str = "https://hc.example/uuid") -> str:
    return make_call_url(HeartbeatCall(url, event, 1, "backup", code, "exit code 3"))


def test_the_event_is_a_suffix_of_the_path() -> None:
    assert call(START) == "https://hc.example/uuid/start"
    assert call(SUCCESS) == "https://hc.example/uuid"
    assert call(FAILURE, 3) == "https://hc.example/uuid/3"
    assert call(FAILURE) == "https://hc.example/uuid/fail"
    assert call(FAILURE, -9) == "https://hc.example/uuid/fail"
    assert call(START, url="https://hc.example/uuid/?a=1") == "https://hc.example/uuid/start?a=1"


@pytest.mark.parametrize("url", ["http://[", "http://[::1/x", "http://[x]/api/push/1"])
def test_an_invalid_url_of_a_stored_definition_is_not_called(url: str) -> None:
    assert call(START, url=url) == call(SUCCESS, url=url) == ""


def test_any_text_is_sent_to_uptime_kuma() -> None:
    made = HeartbeatCall(
        "http://kuma/api/push/a", FAILURE, 1, "backup", 1, "bad \udcff\n&status=up"
    )
    assert make_call_url(made).endswith("?status=down&msg=bad%20%3F%0A%26status%3Dup")


def test_uptime_kuma_takes_the_event_in_the_query() -> None:
    kuma = "https://kuma.example/api/push/abc?status=up&msg=OK&ping="
    assert call(START, url=kuma) == ""
    assert call(SUCCESS, url=kuma).startswith("https://kuma.example/api/push/abc?status=up&msg=")
    assert call(FAILURE, 3, url=kuma).endswith("?status=down&msg=exit%20code%203")
