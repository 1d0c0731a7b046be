"""Fake MythTV backend: answers on its protocol as the recorded one did, and sends recorded events.

Faithful in what a client must cope with: it handles one request for each read of a socket, answers
nothing before ANN, leaves some refused requests unanswered, closes the connection at DONE.
"""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

from mythjobs.mythtv.protocol.frames import SEPARATOR, TOKENS, encode_frame
from tests.support.mythtv.transcripts import (
    RECORDINGS,
    conversations,
    read_transcript,
    recorded_replies,
)

HOSTNAME = "mythbox"
_CHUNK = 65536
_FILES = {
    "/srv/recordings": (
        "1001_20260715181300.ts", "1001_20261120195800.ts", "1002_20261121120000.ts",
        "1002_20261122170000.ts",
    ),
    "/srv/recordings/livetv": ("1002_20261124063000.ts",),
}  # fmt: skip
# Of a file, as recorded; then all values of stat(2).
_MODIFIED, _SIZE = "1795503183", "4182812"
_STAT = (
    "65024", "1526266", "33188", "1", "999", "995", "0", _SIZE, "4096", "8176", _MODIFIED,
    _MODIFIED, _MODIFIED,
)  # fmt: skip


def _name_form(text: str) -> tuple[str, int, int]:
    """Return the command, its number of words, and its number of fields."""
    fields = text.split(SEPARATOR)
    words = fields[0].split() or [""]
    return words[0], len(words), len(fields)


class FakeBackend:
    """`requests` are the payloads received."""

    def __init__(self, version: int = 91) -> None:
        self.version = version
        self.requests: list[str] = []
        # Requests of which no recording has the command and its number of fields.
        self.unrecorded: list[str] = []
        self.forms = {
            _name_form(line.data[8:].decode())
            for path in conversations()
            for line in read_transcript(path)
            if line.direction == ">" and line.data[:8].strip().isdigit()
        }
        self.replies = recorded_replies()
        # The path of each file on the backend, by its name; of all storage groups.
        self.files = {name: f"{group}/{name}" for group, names in _FILES.items() for name in names}
        self.elsewhere: dict[str, str] = {}  # files that only a search of all groups finds
        self.missing: set[str] = set()  # names of files that are gone
        self.away: set[str] = set()  # hosts that are no backend, or not connected
        [self.update_of_recording_1] = [
            each.data
            for each in read_transcript(RECORDINGS / "protocol" / "25-message.txt")
            if b"RECORDING_LIST_CHANGE UPDATE" in each.data
        ]
        self.changed = threading.Condition()
        self._clients: set[BackendClient] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.is_closing = False
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    def close(self) -> None:
        self.is_closing = True
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.drop_clients()
        for each in self._threads:
            each.join(60)
            assert not each.is_alive()
        assert not self.unrecorded

    def drop_clients(self) -> None:
        """Break all connections, as a crash of the backend does."""
        with self.changed:
            clients = list(self._clients)
        for each in clients:
            with suppress(OSError):
                each.sock.shutdown(socket.SHUT_RDWR)

    def wait_for(self, mode: int, count: int = 1, timeout_s: float = 60.0) -> None:
        """Wait until `count` monitors of this mode are connected."""
        with self.changed:
            assert self.changed.wait_for(
                lambda: sum(each.mode == mode for each in self._clients) >= count, timeout_s
            ), f"no monitor of mode {mode} connected"

    def finish_recording(self, chanid: int, start: str, status: int = -3) -> None:
        """Send the event of a recording's end. start: as in `2026-11-24T07:36:00Z`."""
        self.send_event(
            f"SYSTEM_EVENT REC_FINISHED CARDID 1 CHANID {chanid} STARTTIME {start} "
            f"RECSTATUS {status} VIDEODEVICE /opt/recorder --infile /srv/x.ts VBIDEVICE  "
            f"SENDER {HOSTNAME}"
        )

    def send_event(self, *fields: str) -> None:
        """Send an event to the monitors that get it: system events in the modes 1 and 3, others in
        1 and 2."""
        self.send_frame(encode_frame("BACKEND_MESSAGE", *fields, *(["empty"] * (len(fields) < 2))))

    def send_frame(self, frame: bytes) -> None:
        modes = (1, 3) if b"SYSTEM_EVENT " in frame else (1, 2)
        with self.changed:
            for each in self._clients:
                if each.mode in modes:
                    with suppress(OSError):
                        each.sock.sendall(frame)

    def _start(self, target: object, *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self.is_closing:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self._start(self._serve, sock)

    def _serve(self, sock: socket.socket) -> None:
        client = BackendClient(self, sock)
        with self.changed:
            self._clients.add(client)
        try:
            client.serve()
        except OSError:
            pass  # the test or the client has broken the connection
        finally:
            with self.changed:
                self._clients.discard(client)
                self.changed.notify_all()
            sock.close()


class BackendClient:
    def __init__(self, backend: FakeBackend, sock: socket.socket) -> None:
        self.backend = backend
        self.sock = sock
        self.mode = -1
        self._is_announced = False
        self._buffer = b""

    def serve(self) -> None:
        while data := self.sock.recv(_CHUNK):
            self._buffer += data
            size = self._frame_size()
            if size is None:
                continue
            # One frame for each read, however many have arrived.
            frame, self._buffer = self._buffer[:size], self._buffer[size:]
            text = frame[8:].decode()
            with self.backend.changed:
                self.backend.requests.append(text)
                if _name_form(text) not in self.backend.forms:
                    self.backend.unrecorded.append(text)
                self.backend.changed.notify_all()
            if text == "DONE" and not self._buffer:
                return
            self._answer(frame, text.split(SEPARATOR))

    def _frame_size(self) -> int | None:
        if len(self._buffer) < 8 or not self._buffer[:8].strip().isdigit():
            return None
        size = 8 + int(self._buffer[:8])
        return size if len(self._buffer) >= size else None

    def _answer(self, frame: bytes, fields: list[str]) -> None:
        command = fields[0].split()
        if command[0] == "MYTH_PROTO_VERSION":
            self._negotiate(command[1:])
        elif command[0] == "ANN":
            self._announce(command[1:])
        elif not self._is_announced:
            pass  # the backend does not answer
        elif command[0] == "MESSAGE":
            self._broadcast(frame, fields[1:])
        elif len(fields) == 4 and fields[0] == "QUERY_SG_FILEQUERY":
            self._send(*self._find_file(frame, fields[1], fields[3]))
        elif len(fields) == 3 and fields[0] == "QUERY_FILE_EXISTS":
            self._send(*self._find_file(frame, "", fields[1]))
        elif frame in self.backend.replies:
            self.sock.sendall(b"".join(self.backend.replies[frame]))
        else:
            self._send("UNKNOWN_COMMAND")

    def _find_file(self, frame: bytes, host: str, name: str) -> list[str]:
        """Answer QUERY_SG_FILEQUERY, or QUERY_FILE_EXISTS (then host is "")."""
        backend = self.backend
        if name in backend.elsewhere and not host:
            return ["1", backend.elsewhere[name], *_STAT]
        nothing = ["EMPTY LIST"] if host else ["0"]
        if host in backend.away:
            return ["SLAVE UNREACHABLE: ", host]
        if name in backend.missing or (name not in backend.files and frame not in backend.replies):
            return nothing
        if frame in backend.replies:
            return backend.replies[frame][0][8:].decode().split(SEPARATOR)
        path = backend.files[name]
        return [path, _MODIFIED, _SIZE] if host else ["1", path, *_STAT]

    def _negotiate(self, arguments: list[str]) -> None:
        version = self.backend.version
        if not arguments:
            return
        if arguments == [str(version), TOKENS.get(version, "NewToken")]:
            self._send("ACCEPT", str(version))
        else:
            self._send("REJECT", str(version))

    def _announce(self, arguments: list[str]) -> None:
        kind = arguments[0] if arguments else ""
        if len(arguments) < 3:
            self._send("ERROR", "malformed_ann_query")
            return
        self._is_announced = kind in ("Monitor", "Playback")
        self._send("OK")
        if kind == "Monitor":
            with self.backend.changed:
                self.mode = int(arguments[2])
                self.backend.changed.notify_all()

    def _broadcast(self, frame: bytes, fields: list[str]) -> None:
        if not fields:
            return  # no answer
        self._send("OK")
        if fields[0].startswith("MASTER_UPDATE_REC_INFO"):
            # Answered by an event with the recording's row; that of recording 1 was recorded.
            if fields[0].split()[1] == "1":
                self.backend.send_frame(self.backend.update_of_recording_1)
            return
        self.backend.send_event(*fields)

    def _send(self, *fields: str) -> None:
        self.sock.sendall(encode_frame(*fields))
