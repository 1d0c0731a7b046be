"""The fake backend as a program, to try the bridge by hand: `python -m tests.support.mythtv`.

It prints how to connect, and reads commands: `finish` (a recording of a minute that ends now), `row
TYPE` (a job as mythfrontend queues it), `rows`, `sql STATEMENT`, `break` (all connections), `quit`.
"""

from __future__ import annotations

import sys
import time
from typing import Any

from mythjobs.mythtv.bridge.discovery import format_database
from mythjobs.mythtv.database.address import DatabaseAddress
from mythjobs.mythtv.database.connection import MythDatabase
from tests.support.mythtv import database as mythtv_database
from tests.support.mythtv.backend import FakeBackend
from tests.support.mythtv.services import FakeFile, FakeServices


def main() -> None:
    programs = mythtv_database.find_server()
    assert programs, "install mariadb-server"
    backend, services = FakeBackend(), FakeServices()
    services.files[1] = FakeFile(3 * 10**8, lambda at, count: bytes(count), [10**8, 2 * 10**8])
    try:
        with mythtv_database.run_server(programs) as server:
            address = mythtv_database.make_database(server.socket, "mythconverg")
            print(
                f"export MYTHJOBS_MYTHTV_DATABASE='{format_database(address)}'\n"
                f"mythjobs mythtv setup --host 127.0.0.1 --port {backend.port} "
                f"--status-port {services.port}",
                flush=True,
            )
            for line in sys.stdin:
                if line.strip() == "quit":
                    break
                perform(line.split(maxsplit=1), backend, services, address)
    finally:
        backend.close()
        services.close()


def perform(
    words: list[str], backend: FakeBackend, services: FakeServices, address: DatabaseAddress
) -> None:
    command, given = [*words, "", ""][:2]
    if command == "finish":
        start = time.strftime("%Y-%m-%dT%H:%M:00Z", time.gmtime(time.time() - 300))
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        number = max(services.programs, default=100) + 1
        services.add_recording(number, (1001, start), EndTs=now)
        backend.finish_recording(1001, start)
    elif command == "break":
        backend.drop_clients()
    elif command in ("row", "rows", "sql"):
        statement = {
            "row": "INSERT INTO jobqueue (chanid, starttime, inserttime, type, status, args, "
            "schedruntime) VALUES (1001, '2026-07-15 18:13:00', UTC_TIMESTAMP(), "
            f"{given.strip() or 256}, 1, '', UTC_TIMESTAMP())",
            "rows": "SELECT id, type, status, cmds, hostname, comment FROM jobqueue",
        }.get(command, given)
        with MythDatabase(address) as database:
            rows: list[dict[str, Any]] = database.query(statement)
        for each in rows:
            print(*each.values(), sep=" | ", flush=True)


if __name__ == "__main__":
    main()
