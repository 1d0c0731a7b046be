"""A proxy between a client and a database that loses a connection at a COMMIT, as asked."""

from __future__ import annotations

import socket
import threading
from pathlib import Path


class Lossy:
    """A socket in a directory of its own; `lose` is what it does at the next COMMIT:

    "answer": passes it on, waits for the server's answer and drops that with the connection;
    "request": drops the connection and the request with it. "" passes everything on.

    With "unseen" the client loses the connection at its next word, and the server, as behind a
    network that is cut, does not notice.
    """

    def __init__(self, directory: Path, server: Path) -> None:
        self.lose = ""
        self._server = server / ".s.PGSQL.5432"
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(directory / ".s.PGSQL.5432"))
        self._listener.listen()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for each in self._threads:
            each.join(10)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            server.connect(str(self._server))
            for work in (self._to_server, self._to_client):
                thread = threading.Thread(target=work, args=(client, server), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _to_server(self, client: socket.socket, server: socket.socket) -> None:
        while data := _received(client):
            if self.lose == "unseen":
                self.lose = ""
                _shut(client)
                return
            if b"COMMIT\0" in data and self.lose == "request":
                self.lose = ""
                _shut(client, server)
                return
            if b"COMMIT\0" in data and self.lose == "answer":
                self.lose = "now"
            server.sendall(data)
        _shut(server)

    def _to_client(self, client: socket.socket, server: socket.socket) -> None:
        while data := _received(server):
            if self.lose == "now":
                self.lose = ""
                _shut(client, server)
                break
            try:
                client.sendall(data)
            except OSError:
                break
        client.close()
        server.close()


def _received(sock: socket.socket) -> bytes:
    try:
        return sock.recv(65536)
    except OSError:
        return b""


def _shut(*socks: socket.socket) -> None:
    for sock in socks:
        try:
            sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
