import json
import os
from pathlib import Path

import pytest

from mythjobs.client import locate
from mythjobs.config import locks
from mythjobs.errors import BadRequest, NotAllowed


def test_the_socket_is_where_the_master_says(tmp_path: Path) -> None:
    said = tmp_path / "master.json"
    said.write_text(json.dumps({"socket": "/run/mythjobs/master.sock"}))
    assert locate.find_socket(str(tmp_path)).socket == "/run/mythjobs/master.sock"
    for broken in ("", "[]", "{}", '{"socket": 3}'):
        said.write_text(broken)
        assert locate.find_socket(str(tmp_path)).socket == f"{tmp_path}/master.sock"


def test_a_master_that_holds_its_lock_runs_though_nobody_answers(tmp_path: Path) -> None:
    lock = tmp_path / "master.lock"
    with locks.acquire(lock, "a master"):
        assert f"the master (pid {os.getpid()})" in locate.unreachable_error(str(tmp_path)).sentence
    # What it wrote into its lock stays when it ends.
    assert lock.read_bytes()
    assert "start one with `mythjobs up`" in locate.unreachable_error(str(tmp_path)).sentence


@pytest.mark.parametrize(
    "url, text",
    [
        ("http://127.evil.example:80", "the token is sent only to this machine"),
        ("http://127.0.0.1.evil.example:80", "the token is sent only to this machine"),
        ("http://127.0.0.1@evil.example:80", "the token is sent only to this machine"),
        ("http://127.0.0.1:99999", "it must be like http://127.0.0.1:6545"),
        ("http://127.0.0.1:0", "it must be like http://127.0.0.1:6545"),
    ],
)
def test_a_token_goes_nowhere_else(url: str, text: str, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret-token_1\n")
    with pytest.raises(BadRequest, match=text):
        locate.parse_url(url, str(tmp_path), {})
    for good in ("http://127.0.0.1:80", "http://127.1.2.3:80/", "http://localhost:80"):
        assert locate.parse_url(good, str(tmp_path), {}).token == "secret-token_1"


def test_a_file_that_is_no_token_is_not_sent(tmp_path: Path) -> None:
    for text in ("a\nb", "", "two words"):
        (tmp_path / "token").write_text(text)
        with pytest.raises(NotAllowed, match="not a token"):
            locate.parse_url("http://127.0.0.1:80", str(tmp_path), {})
