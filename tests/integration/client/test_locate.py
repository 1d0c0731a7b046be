import json
import os
import socket
import threading
from pathlib import Path

import pytest

from mythjobs.client import locate
from mythjobs.client.client import Client
from mythjobs.client.locate import Address
from mythjobs.config import locks
from mythjobs.errors import BadRequest, NotAllowed


def test_the_socket_is_read_from_master_json(tmp_path: Path) -> None:
    info = tmp_path / "master.json"
    info.write_text(json.dumps({"socket": "/run/mythjobs/master.sock"}))
    assert locate.find_socket(str(tmp_path)).socket == "/run/mythjobs/master.sock"
    for broken in ("", "[]", "{}", '{"socket": 3}'):
        info.write_text(broken)
        assert locate.find_socket(str(tmp_path)).socket == f"{tmp_path}/master.sock"
    info.unlink()
    os.mkfifo(info)  # the open of a FIFO waits for its other end
    assert locate.find_socket(str(tmp_path)).socket == f"{tmp_path}/master.sock"


def test_the_version_of_the_master_is_known(tmp_path: Path) -> None:
    info = {"socket": "/run/x.sock", "port": 6545, "version": "9.1"}
    (tmp_path / "master.json").write_text(json.dumps(info))
    (tmp_path / "token").write_text("secret-token_1")
    assert locate.find_socket(str(tmp_path)).version == "9.1"
    assert locate.parse_url("http://127.0.0.1:6545", str(tmp_path), {}).version == "9.1"
    # Another master, about which this state directory says nothing.
    assert locate.parse_url("http://127.0.0.1:6546", str(tmp_path), {}).version == ""
    (tmp_path / "master.json").write_text('{"version": 3, "port": 6545}')
    assert locate.find_socket(str(tmp_path)).version == ""
    (tmp_path / "master.json").unlink()
    assert locate.parse_url("http://127.0.0.1:6545", str(tmp_path), {}).version == ""


def test_the_command_that_starts_a_master_is_for_the_same_state_directory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Seen: `mythjobs --state-dir /srv/q jobs` named `mythjobs up`, which starts another queue.
    monkeypatch.setenv("MYTHJOBS_STATE_DIR", "/srv/default")
    for root, start in (
        ("/srv/default", "`mythjobs up`"),
        ("/srv/my q", "`mythjobs --state-dir '/srv/my q' up`"),
        ("http://127.0.0.1:1", "`mythjobs up`, or correct MYTHJOBS_URL"),
    ):
        sentence = locate.unreachable_error(root).sentence
        assert sentence == f"no master is running for {root}; start one with {start}"


def test_a_lock_holder_that_cannot_be_reached_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MYTHJOBS_STATE_DIR", str(tmp_path))
    lock = tmp_path / "master.lock"
    with locks.acquire(lock, "a master"):
        assert f"the master (pid {os.getpid()})" in locate.unreachable_error(str(tmp_path)).sentence
    # The pid in the lock file remains after the master ended.
    assert lock.read_bytes()
    assert "start one with `mythjobs up`" in locate.unreachable_error(str(tmp_path)).sentence
    lock.unlink()
    os.mkfifo(lock)
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
def test_the_token_is_sent_only_to_this_machine(url: str, text: str, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret-token_1\n")
    with pytest.raises(BadRequest, match=text):
        locate.parse_url(url, str(tmp_path), {})
    for good in ("http://127.0.0.1:80", "http://127.1.2.3:80/", "http://localhost:80"):
        assert locate.parse_url(good, str(tmp_path), {}).token == "secret-token_1"


def test_an_invalid_token_is_not_sent(tmp_path: Path) -> None:
    for text in ("a\nb", "", "two words"):
        (tmp_path / "token").write_text(text)
        with pytest.raises(NotAllowed, match="not a token"):
            locate.parse_url("http://127.0.0.1:80", str(tmp_path), {})


def test_a_refused_token_names_the_variable_of_its_file() -> None:
    # Seen on the command line: 'send "Authorization: Bearer TOKEN"', which is for programs.
    body = json.dumps({"code": "not_allowed", "message": "wrong token", "exit": 77}).encode()
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65_536)
                head = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: %d\r\n\r\n" % len(body)
                connection.sendall(head + body)

        thread = threading.Thread(target=answer)
        thread.start()
        address = Address(f"http://127.0.0.1:{port}", "", "127.0.0.1", port, "secret")
        with pytest.raises(NotAllowed, match=r"refuses the token; .* with MYTHJOBS_TOKEN_FILE$"):
            Client(address).get("status")
        thread.join()
