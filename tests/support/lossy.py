"""PostgreSQL proxy that drops a connection at a COMMIT, for tests."""

from __future__ import annotations

import socket
import threading
from pathlib import Path


class LossyProxy:
    """Proxy on a Unix socket. `lose` tells what it drops at the next COMMIT, "" nothing:

    "answer": forwards the COMMIT, waits for the server's answer, drops it and the connection.
    "request": drops the COMMIT and the connection.
    "unseen": at the client's next message, drops the connection to the client only. The server
    does not notice, as in a network partition.
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
            each.join(60)

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
        while data := _receive(client):
            if self.lose == "unseen":
                self.lose = ""
                _shut_down(client)
                return
            if b"COMMIT\0" in data and self.lose == "request":
                self.lose = ""
                _shut_down(client, server)
                return
            if b"COMMIT\0" in data and self.lose == "answer":
                self.lose = "now"
            server.sendall(data)
        _shut_down(server)

    def _to_client(self, client: socket.socket, server: socket.socket) -> None:
        while data := _receive(server):
            if self.lose == "now":
                self.lose = ""
                _shut_down(client, server)
                break
            try:
                client.sendall(data)
            except OSError:
                break
        client.close()
        server.close()


def _receive(sock: socket.socket) -> bytes:
    try:
        return sock.recv(65536)
    except OSError:
        return b""


def _shut_down(*socks: socket.socket) -> None:
    for sock in socks:
        try:
            sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
