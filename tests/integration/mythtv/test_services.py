"""The Services API against recorded answers, and logins."""

import http.client
import json
import threading

import pytest

from mythjobs.errors import BadRequest, NotAllowed, ProtocolError, Unreachable
from mythjobs.mythtv.importer.installation import read_installation_from_services
from mythjobs.mythtv.services.client import Services
from tests.support.mythtv.digest_login import DigestLogin
from tests.support.mythtv.services import (
    FakeFile,
    FakeServices,
    RecordedExchange,
    recorded_exchanges,
)


@pytest.mark.parametrize("exchange", recorded_exchanges(), ids=lambda each: each.name)
def test_the_fake_answers_as_recorded(fake: FakeServices, exchange: RecordedExchange) -> None:
    content = bytes(4_182_812)
    fake.files[1] = FakeFile(len(content), lambda at, count: content[at : at + count], [])
    connection = http.client.HTTPConnection("127.0.0.1", fake.port, timeout=60)
    headers = {k: v for k, v in exchange.request_headers.items() if k in ("Accept", "Range")}
    connection.request(exchange.verb, exchange.target, exchange.body or None, headers)
    response = connection.getresponse()
    body = response.read()
    connection.close()
    assert response.status == exchange.status
    if exchange.content_type.startswith("application/json"):
        assert json.loads(body) == json.loads(exchange.reply)
    elif exchange.content_type.startswith("text/html"):
        assert body == exchange.reply
    else:
        assert response.headers["Content-Range"] == exchange.headers["Content-Range"]
        assert len(body) == int(exchange.headers["Content-Length"])


def test_requests_are_like_the_recorded_ones(fake: FakeServices, services: Services) -> None:
    services.find_recording_by_key(1001, 1_784_139_180_000)
    services.put_setting("BridgeTest", "from the API ü", "mythbox")
    assert fake.requests == [
        "GET /Dvr/GetRecorded?ChanId=1001&StartTime=2026-07-15T18:13:00Z",
        "POST /Myth/PutSetting HostName=mythbox&Key=BridgeTest&Value=from+the+API+%C3%BC",
    ]


def test_recordings_are_found(fake: FakeServices, services: Services) -> None:
    found = services.find_recording(1)
    assert found is not None
    assert found.title == "Große Reise"
    assert services.find_recording_by_key(1001, found.start_ms) == found
    assert services.find_recording_by_key(1001, found.start_ms + 7_200_000) is None
    assert services.find_recording(99999) is None


def test_all_recordings_are_listed_page_by_page(fake: FakeServices, services: Services) -> None:
    for number in range(10, 210):
        fake.add_recording(number, (1001, f"2026-11-25T{number // 60:02}:{number % 60:02}:00Z"))
    found = [each.recordedid for each in services.list_recordings(lambda *_: None)]
    assert found[:200] == list(range(209, 9, -1))
    assert sorted(found[200:]) == [1, 2, 3, 4, 5]
    assert len(fake.requests) == 3


def test_settings_of_hosts_and_global_ones(fake: FakeServices, services: Services) -> None:
    assert services.settings("mythbox")["JobQueueMaxSimultaneousJobs"] == "2"
    assert services.settings(None)["SecurityPin"] == "1234"
    assert services.settings("otherhost") == {}
    services.put_setting("BridgeTest", "ü", "mythbox")
    services.put_setting("BridgeTest", "all", None)
    assert fake.settings["mythbox"]["BridgeTest"] == "ü"
    assert fake.settings[""]["BridgeTest"] == "all"
    services.delete_setting("BridgeTest", "mythbox")
    assert "BridgeTest" not in fake.settings["mythbox"]
    assert "HostName=_GLOBAL_" in fake.requests[-2]


def test_names_versions_and_directories(services: Services) -> None:
    assert services.host_name() == "mythbox"
    assert services.host_names() == ["mythbox"]
    assert services.version() == "v35-Pre-142-g8dbc67e783"
    assert services.file_hash("1001_20260715181300.ts", "Default") == "b0d5168b08f72078"
    assert services.file_hash("nosuch.ts", "Default") == ""


def test_a_refusal_has_the_text_of_its_page(services: Services) -> None:
    with pytest.raises(BadRequest, match="Recorded ID or Channel ID and StartTime appears invalid"):
        services.get("Dvr/GetRecorded")
    with pytest.raises(BadRequest, match="404 Not Found"):
        services.get("Dvr/NoSuchMethod")


def check_wrong_and_missing_logins(fake: FakeServices) -> None:
    with (
        Services("127.0.0.1", fake.port, user="admin", password="wrong") as services,
        pytest.raises(NotAllowed, match='refuses the login of the user "admin"'),
    ):
        services.host_name()
    with (
        Services("127.0.0.1", fake.port) as services,
        pytest.raises(NotAllowed, match="run `mythjobs mythtv setup --user NAME`"),
    ):
        services.host_name()


def test_a_login_is_made_when_it_is_required(fake: FakeServices) -> None:
    fake.login = ("admin", "secret")
    with Services("127.0.0.1", fake.port, user="admin", password="secret") as services:
        assert services.host_name() == "mythbox"
        assert services.host_name() == "mythbox"
    assert sum("LoginUser" in each for each in fake.requests) == 1
    check_wrong_and_missing_logins(fake)


def test_a_token_that_became_invalid_is_replaced(fake: FakeServices) -> None:
    # A backend refuses an invalid token even if it requires no login.
    with Services("127.0.0.1", fake.port, user="admin", password="secret") as services:
        services._transport._token = "of-an-earlier-backend"
        fake.login = ("admin", "secret")
        assert services.host_name() == "mythbox"
    with Services("127.0.0.1", fake.port) as services:
        services._transport._token = "of-an-earlier-backend"
        fake.login = None
        assert services.host_name() == "mythbox"


def test_a_digest_is_sent_where_a_backend_asks_for_one(fake: FakeServices) -> None:
    # MythTV 0.28 to 31, with its setting HTTP/Protected/Urls.
    fake.digest = DigestLogin("admin", "sécret")
    with Services("127.0.0.1", fake.port, user="admin", password="sécret") as services:
        found = services.find_recording_by_key(1001, 1_784_139_180_000)
        assert found is not None
        services.put_setting("BridgeTest", "ü & %", "mythbox")
        fake.digest.expire()
        assert services.host_name() == "mythbox"
        assert fake.digest.refused == []
    assert not any("LoginUser" in each for each in fake.requests)
    check_wrong_and_missing_logins(fake)


def test_a_login_of_an_unknown_kind_is_named_with_the_remedy(fake: FakeServices) -> None:
    fake.login = ("admin", "secret")
    fake.has_login_method = False
    with (
        Services("127.0.0.1", fake.port, user="admin", password="secret") as services,
        pytest.raises(NotAllowed, match=r"a kind that mythjobs does not know.*APIAuthReqd = NONE"),
    ):
        services.host_name()


def test_threads_that_are_refused_at_once_log_in_once(fake: FakeServices) -> None:
    fake.login = ("admin", "secret")
    with Services("127.0.0.1", fake.port, user="admin", password="secret") as services:
        gate = threading.Barrier(8)
        names: list[str] = []

        def ask() -> None:
            gate.wait(60)
            names.append(services.host_name())

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for each in threads:
            each.start()
        for each in threads:
            each.join(60)
        assert names == ["mythbox"] * 8
    assert sum("LoginUser" in each for each in fake.requests) == 1


def test_the_fake_notices_requests_that_were_never_recorded(
    fake: FakeServices, services: Services
) -> None:
    services.get("Dvr/GetRecorded", Nonsense=1)
    with pytest.raises(BadRequest, match="404"):
        services.get("Dvr/GetJobs")
    assert fake.unrecorded == ["GET /Dvr/GetRecorded?Nonsense=1", "GET /Dvr/GetJobs"]
    fake.unrecorded.clear()


def test_rules_and_profiles_in_the_texts_of_the_older_api(
    fake: FakeServices, services: Services
) -> None:
    recorded = services.get("Dvr/GetRecordScheduleList")
    rule = recorded["RecRuleList"]["RecRules"][0]
    on = dict.fromkeys(("AutoTranscode", "AutoUserJob2"), "true")
    off = dict.fromkeys(("AutoCommflag", "AutoMetaLookup", "AutoUserJob1"), "false")
    fake.answers["Dvr/GetRecordScheduleList"] = {
        "RecRuleList": {"RecRules": [rule | on | off | {"Id": "7", "Transcoder": "27"}]}
    }
    [found] = read_installation_from_services(services, "test").rules
    assert (found.id, found.transcoder, found.transcode, found.commflag) == (7, 27, True, False)
    assert found.userjobs[:2] == (False, True)


def test_another_program_on_the_port(fake: FakeServices, services: Services) -> None:
    fake.files[1] = FakeFile(3, lambda at, count: b"abc"[at : at + count], [])
    with pytest.raises(ProtocolError, match="is it the port of its status page"):
        services.get("Content/GetRecording", RecordedId=1)


def test_a_failing_and_a_missing_backend(fake: FakeServices, services: Services) -> None:
    fake.is_failing = True
    with pytest.raises(Unreachable, match="failed at Myth/GetHostName"):
        services.host_name()
    fake.close()
    with pytest.raises(Unreachable, match="does not answer"):
        services.host_name()
