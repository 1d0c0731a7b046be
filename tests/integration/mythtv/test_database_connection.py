"""Attempts to connect to MythTV's database, without a server of it."""

import socket
import struct
import threading
from pathlib import Path

import pytest

from mythjobs.errors import Unreachable
from mythjobs.mythtv.database.address import DatabaseAddress
from mythjobs.mythtv.database.connection import MythDatabase

_SSL = 0x800
_CAPABILITIES = _SSL | 0x200 | 0x8000 | 0x80000  # protocol 4.1, authentication plug-ins


def fail(database: MythDatabase) -> str:
    with pytest.raises(Unreachable) as raised:
        database.query("SELECT 1")
    return raised.value.sentence


def test_a_server_that_is_away_is_tried_after_growing_delays(tmp_path: Path) -> None:
    now_s = 100.0
    path = tmp_path / "socket"
    database = MythDatabase(
        DatabaseAddress(socket=str(path)), max_backoff_s=1.0, now_s=lambda: now_s
    )
    tried_at, last = [], ""
    while now_s < 103.0:
        if (found := fail(database)) != last:
            tried_at.append(now_s)
            last = found
            # The next attempt has another error.
            if path.exists():
                path.unlink()
            else:
                path.touch()
        now_s += 0.125
    assert tried_at == [100.0, 100.25, 100.75, 101.75, 102.75]


def test_without_a_back_off_each_statement_tries_to_connect(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    database = MythDatabase(DatabaseAddress(socket=str(path)))
    assert "No such file" in fail(database)
    path.touch()
    assert "refused" in fail(database)


def test_the_connection_is_encrypted_if_the_server_can() -> None:
    received = []

    def serve(server: socket.socket) -> None:
        connection, _ = server.accept()
        # The client repeats a read once: that connection must fail at once.
        server.close()
        with connection:
            connection.sendall(make_greeting())
            with connection.makefile("rb") as file:
                received.append(file.read(4 + 32 + 1))

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve, args=[server])
        thread.start()
        fail(MythDatabase(DatabaseAddress(port=server.getsockname()[1])))
        thread.join()
    flags = struct.unpack_from("<I", received[0], 4)[0]
    assert flags & _SSL
    assert received[0][36] == 0x16  # a handshake of TLS follows


def make_greeting() -> bytes:
    """Return the first packet of a server that offers TLS."""
    payload = (
        b"\x0a8.0.36\0" + struct.pack("<I", 1) + b"saltsalt\0"
        + struct.pack("<HBHHB", _CAPABILITIES & 0xFFFF, 45, 2, _CAPABILITIES >> 16, 21)
        + bytes(10) + b"saltsaltsalt\0" + b"mysql_native_password\0"
    )  # fmt: skip
    return struct.pack("<I", len(payload)) + payload
