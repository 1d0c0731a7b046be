from __future__ import annotations

import io
import json
import urllib.request
from typing import Any

import pytest

from mythjobs.master.notify import sender_program
from mythjobs.master.notify.sender_program import hide_secrets, remove_secrets


@pytest.mark.parametrize(
    "url, shown",
    [
        ("mailto://user:secret@example.org?to=a@b.cd", "mailto://example.org/…"),
        ("json://user:secret@localhost:8080/secret", "json://localhost:8080/…"),
        ("tgram://123456:SECRET/42", "tgram://…"),
        ("ntfy://topic", "ntfy://…"),
        ("ntfy://ntfy.sh/topic", "ntfy://ntfy.sh/…"),
    ],
)
def test_a_url_is_shown_without_secrets(url: str, shown: str) -> None:
    assert hide_secrets(url) == shown


def test_errors_have_no_part_of_the_url_but_scheme_and_host() -> None:
    url = "json://user:pa%20ss@example.org:8080/token?key=value1"
    text = f"cannot reach example.org:8080 ({url}): pa ss, token, value1, json"
    assert remove_secrets(text, url) == "cannot reach example.org:8080 (…): …, …, …, json"


@pytest.mark.parametrize("op", ["check", "call"])
def test_each_request_has_a_result_also_if_its_url_is_invalid(op: str) -> None:
    results = io.StringIO()
    sender_program._serve({"id": 3, "op": op, "url": "json://[x"}, results)
    result = json.loads(results.getvalue())
    assert result.pop("took_s") >= 0
    assert result == {"id": 3, "error": "the URL is not valid", "shown": ""}


def test_user_and_password_of_a_heartbeat_url_are_sent_in_a_header(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    requests = []

    def refuse(request: urllib.request.Request, **_: Any) -> None:
        requests.append(request)
        raise OSError("refused")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    assert sender_program._call("https://me:p%40ss@hc.example:8080/x?a=1") == "refused"
    (request,) = requests
    assert request.full_url == "https://hc.example:8080/x?a=1"
    assert request.get_header("Authorization") == "Basic bWU6cEBzcw=="
    # A redirection may lead to another server, which must not get the password.
    handler = urllib.request.HTTPRedirectHandler()
    answer: Any = (None, 302, "Found", {}, "https://other.example/")
    redirected = handler.redirect_request(request, *answer)
    assert redirected is not None
    assert redirected.get_header("Authorization") is None


@pytest.mark.parametrize(
    "url", ["json://user:sekret@ho\u2100st/", "json://[sekret/", "json://u:sekret@host:99999"]
)
@pytest.mark.parametrize("op", ["check", "send", "call"])
def test_a_url_that_cannot_be_split_gets_an_answer_without_secrets(
    url: str, op: str, capfd: pytest.CaptureFixture[str]
) -> None:
    request = {"id": 7, "op": op, "url": url, "title": "t", "body": "b", "level": "info"}
    results = io.StringIO()
    sender_program._serve(request, results)
    out, err = capfd.readouterr()
    answer = json.loads(results.getvalue())
    assert (answer["id"], bool(answer["error"])) == (7, True)
    assert "sekret" not in results.getvalue() + out + err
