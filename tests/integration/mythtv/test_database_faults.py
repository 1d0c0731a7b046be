"""MythTV's database is killed, frozen, full, or set up in another way than usual."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from mythjobs.errors import Unreachable
from mythjobs.mythtv.bridge.state_files import read_status
from mythjobs.mythtv.bridge.takeover import switch_on
from mythjobs.mythtv.database.address import DatabaseAddress
from mythjobs.mythtv.database.connection import MythDatabase, MythDatabaseError
from mythjobs.mythtv.database.queue_table import QueueDatabase
from mythjobs.mythtv.database.recordings import read_recording
from mythjobs.mythtv.job_rows import JobRow, RowChange, RowState
from mythjobs.mythtv.services.client import Services
from tests.support.mythtv import database as mythtv_database
from tests.support.mythtv.bridge import (
    GATED,
    NAME,
    RunningBridge,
    remove_commands,
    run_bridge,
    wait_for,
)
from tests.support.mythtv.database import DatabaseServer
from tests.support.running_queue import RunningQueue

pytestmark = pytest.mark.slow
# MythTV's defaults break in strict mode; in ANSI mode "x" is a column; init_connect changes the
# character set of each user but root.
OPTIONS = (
    "--sql-mode=ANSI_QUOTES,STRICT_ALL_TABLES,NO_ZERO_DATE,NO_ZERO_IN_DATE,NO_BACKSLASH_ESCAPES",
    "--default-time-zone=-09:30", "--character-set-server=latin1", "--max-connections=10",
    "--init-connect=SET NAMES latin1", "--innodb-flush-log-at-trx-commit=1",
)  # fmt: skip
FINISHED = 272


@pytest.fixture(scope="module")
def server() -> Iterator[DatabaseServer]:
    programs = mythtv_database.find_server()
    if programs is None:
        pytest.skip("MariaDB is not installed (package mariadb-server)")
    with mythtv_database.run_server(programs, *OPTIONS) as server:
        yield server


@pytest.fixture(scope="module")
def address(server: DatabaseServer) -> DatabaseAddress:
    return mythtv_database.make_database(server.socket, "mythconverg")


@pytest.fixture(scope="module")
def bridge(running_queue: RunningQueue, address: DatabaseAddress) -> Iterator[RunningBridge]:
    running_queue.client.post("commands", {"definition": GATED, "replace": True})
    with run_bridge(running_queue.root, running_queue.client, address) as bridge:
        with Services("127.0.0.1", bridge.services.port) as services:
            switch_on(bridge.directory, services)
        yield bridge
    remove_commands(running_queue.client, "gated")


@pytest.fixture
def gate(bridge: RunningBridge, tmp_path: Path) -> Path:
    path = tmp_path / "gate"
    os.mkfifo(path)
    let_gate_be(bridge, str(path), GATED["shell"])
    return path


def let_gate_be(bridge: RunningBridge, path: str, shell: str) -> None:
    parameters = [dict(each) for each in GATED["parameters"]]
    parameters[0]["default"] = path
    definition = GATED | {"parameters": parameters, "shell": shell}
    bridge.client.post("commands", {"definition": definition, "replace": True})


def reconnect(bridge: RunningBridge) -> None:
    """Let the connection of the test be a new one, after the server was killed."""
    assert bridge.database is not None
    bridge.database.close()


def jobs_of(bridge: RunningBridge, *row_ids: int) -> list[dict[str, Any]]:
    numbers = {str(each) for each in row_ids}
    listed = bridge.client.get("jobs", {"command": "gated", "limit": 1000})["jobs"]
    return [each for each in listed if each["arguments"].get("jobid") in numbers]


def test_texts_and_times_are_right_whatever_the_server_is_set_to(address: DatabaseAddress) -> None:
    with MythDatabase(address) as database:
        table = QueueDatabase(database)
        row = table.read_rows()[0]
        database.execute("UPDATE jobqueue SET hostname = 'b' WHERE id = %s", row.row_id)
        text = "Größe 日本 \"quoted\" 'single' \\back"
        assert table.write(
            row.row_id, host="b", state=row.state, change=RowChange(comment=text + " \U0001f600")
        )
        found = next(each for each in table.read_rows() if each.row_id == row.row_id)
        assert found.comment == text + " ?"
        assert found.start_ms == row.start_ms == 1_795_507_080_000
        state = read_recording(database, 1)
        assert state is not None
        assert (state.recording.title, state.recording.key) == (
            "Große Reise",
            "1001_20260715181300",
        )
        # What MythTV itself writes in its mode.
        [stored] = database.query(
            "SELECT UNIX_TIMESTAMP(statustime) - UNIX_TIMESTAMP() AS age FROM jobqueue "
            "WHERE id = %s",
            row.row_id,
        )
        assert abs(stored["age"]) < 60


def test_a_job_that_ends_while_the_database_is_gone_is_shown_when_it_is_back(
    bridge: RunningBridge, server: DatabaseServer, gate: Path
) -> None:
    row_id = bridge.insert_row()
    bridge.wait_row(row_id, RowState.RUNNING)
    server.kill()
    gate.write_text("0\n")
    wait_for(lambda: read_status(bridge.directory).get("table") or None, bridge.log)
    wait_for(lambda: jobs_of(bridge, row_id)[0]["state"] == "succeeded", bridge.log)
    server.start()
    reconnect(bridge)
    row = bridge.wait_row(row_id, FINISHED)
    assert row["comment"] == "Successfully Completed."
    assert len(jobs_of(bridge, row_id)) == 1
    wait_for(lambda: read_status(bridge.directory)["table"] == "", bridge.log)


def test_no_row_is_run_twice_when_the_database_dies_in_the_middle(
    bridge: RunningBridge, server: DatabaseServer
) -> None:
    let_gate_be(bridge, "", "exit 0")
    rows: list[int] = []

    def wait_for_jobs(count: int) -> None:
        wait_for(lambda: len(jobs_of(bridge, *rows)) >= count, bridge.log)

    # In each round the pass over the table has come further when the server dies.
    for count in (0, 1, 1, 2):
        rows += [bridge.insert_row() for _ in range(3)]
        wait_for_jobs(count)
        server.kill()
        server.start()
        reconnect(bridge)
    for row_id in rows:
        assert bridge.wait_row(row_id, FINISHED)["hostname"] == NAME
    assert sorted(int(each["arguments"]["jobid"]) for each in jobs_of(bridge, *rows)) == rows


def test_the_bridge_goes_on_when_the_server_accepts_connections_again(
    bridge: RunningBridge, server: DatabaseServer, address: DatabaseAddress, gate: Path
) -> None:
    row_id = bridge.insert_row()
    bridge.wait_row(row_id, RowState.RUNNING)
    root = DatabaseAddress(user="root", password="", name="mythconverg", socket=str(server.socket))
    with ExitStack() as others, MythDatabase(root) as administrator:
        own: set[int] = set()

        def is_shut_out() -> bool:
            """Take all connections, also those of the bridge."""
            for found in administrator.query("SHOW PROCESSLIST"):
                if found["User"] == "mythtv" and found["Id"] not in own:
                    kill(administrator, found["Id"])
            own.update(fill(address, others))
            return "Too many connections" in read_status(bridge.directory).get("table", "")

        wait_for(is_shut_out, bridge.log)
        gate.write_text("0\n")
    bridge.wait_row(row_id, FINISHED)
    assert len(jobs_of(bridge, row_id)) == 1


def kill(administrator: MythDatabase, connection: int) -> None:
    """End a connection, unless it has ended since it was listed."""
    try:
        administrator.execute(f"KILL {connection}")
    except MythDatabaseError as error:
        if "Unknown thread id" not in str(error):
            raise


def fill(address: DatabaseAddress, connections: ExitStack) -> Iterator[int]:
    """Open connections until the server refuses one, and tell the id of each."""
    while True:
        database = connections.enter_context(MythDatabase(address))
        try:
            [found] = database.query("SELECT CONNECTION_ID() AS id")
        except Unreachable:
            return
        yield found["id"]


def test_a_frozen_server_overwrites_nothing_when_it_thaws(
    server: DatabaseServer, address: DatabaseAddress
) -> None:
    with MythDatabase(address) as database, MythDatabase(address, timeout_s=0.3) as slow:
        row_id = database.insert(
            "INSERT INTO jobqueue (chanid, starttime, inserttime, type, status, hostname, args) "
            "VALUES (1002, '2026-11-22 17:00:00', UTC_TIMESTAMP(), 2, 4, 'b', '')"
        )
        slow.query("SELECT 1")
        late = RowChange(RowState.PAUSED, "late")
        with server.frozen(), pytest.raises(Unreachable, match="lost the connection"):
            QueueDatabase(slow).write(row_id, host="b", state=4, change=late)
        table = QueueDatabase(database)

        def find() -> JobRow:
            return next(each for each in table.read_rows() if each.row_id == row_id)

        def write_final() -> bool:
            final = RowChange(RowState.FINISHED, "done")
            return table.write(row_id, host="b", state=find().state, change=final)

        # The next look at the table writes again if the late statement came first.
        wait_for(write_final, "the row cannot be written")
        own = database.query("SELECT CONNECTION_ID() AS n")[0]["n"]
        wait_for(
            lambda: not [
                each for each in database.query("SHOW PROCESSLIST")
                if each["Id"] != own and each["Info"]
            ],
            "the late statement still runs",
        )  # fmt: skip
        assert (find().state, find().comment) == (RowState.FINISHED, "done")


def test_the_bridge_goes_on_after_a_freeze(
    bridge: RunningBridge, server: DatabaseServer, gate: Path
) -> None:
    row_id = bridge.insert_row()
    bridge.wait_row(row_id, RowState.RUNNING)
    with server.frozen():
        gate.write_text("0\n")
        wait_for(lambda: jobs_of(bridge, row_id)[0]["state"] == "succeeded", bridge.log)
    bridge.wait_row(row_id, FINISHED)
    assert len(jobs_of(bridge, row_id)) == 1


def test_a_server_that_does_not_answer_does_not_delay_the_end_of_the_bridge(
    bridge: RunningBridge, running_queue: RunningQueue, address: DatabaseAddress
) -> None:
    with (
        run_bridge(running_queue.root, running_queue.client, address) as other,
        MythDatabase(address) as database,
    ):
        with Services("127.0.0.1", other.services.port) as services:
            switch_on(other.directory, services)
        with database.locked("jobqueue"):

            def do_both_wait() -> bool:
                found = database.query("SHOW PROCESSLIST")
                return sum("Waiting" in (each["State"] or "") for each in found) == 2

            wait_for(do_both_wait, other.log)
            other.process.terminate()
            # Without the stop the program would wait 20 s for the answer.
            assert other.process.wait(15) == 0
