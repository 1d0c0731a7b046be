from mythjobs.mythtv.database import recordings
from mythjobs.mythtv.database.connection import MythDatabase, RecordingKey, parse_ms
from mythjobs.mythtv.database.queue_table import QueueDatabase
from mythjobs.mythtv.job_rows import COMMENT_LENGTH, QueueTable, RowChange, RowState, RowType

START_MS = parse_ms("2026-11-22 17:00:00") or 0
KEY = RecordingKey(1002, START_MS)


def insert_row(mythtv: MythDatabase, hostname: str = "", status: int = 1, cmds: int = 0) -> int:
    return mythtv.insert(
        "INSERT INTO jobqueue (chanid, starttime, inserttime, type, status, cmds, hostname, args) "
        "VALUES (1002, '2026-11-22 17:00:00', UTC_TIMESTAMP(), 256, %s, %s, %s, '')",
        status, cmds, hostname,
    )  # fmt: skip


def test_rows_of_the_recorded_installation(mythtv: MythDatabase) -> None:
    table: QueueTable = QueueDatabase(mythtv)
    flagged, logged = table.read_rows()
    assert (flagged.row_id, flagged.type, flagged.state) == (178, RowType.COMMFLAG, 272)
    assert flagged.comment == "1 commercial break(s)"
    assert flagged.recordedid == 16
    assert flagged.start_ms == parse_ms("2026-11-24 07:58:00")
    assert logged.is_done


def test_a_job_without_a_recording(mythtv: MythDatabase) -> None:
    mythtv.execute("UPDATE jobqueue SET chanid = -1 WHERE id = 178")
    assert QueueDatabase(mythtv).read_rows()[0].recordedid is None


def test_one_of_two_hosts_claims_a_row(mythtv: MythDatabase) -> None:
    table = QueueDatabase(mythtv)
    row = insert_row(mythtv)
    assert table.claim(row, expected_host="", host="bridge")
    assert not table.claim(row, expected_host="", host="mythbox")
    assert not table.claim(row, expected_host="mythbox", host="other")
    assert table.claim(row, expected_host="bridge", host="other")


def test_a_row_that_runs_is_not_claimed(mythtv: MythDatabase) -> None:
    row = insert_row(mythtv, status=RowState.RUNNING)
    assert not QueueDatabase(mythtv).claim(row, expected_host="", host="bridge")


def test_writes_to_rows_of_the_own_host_only(mythtv: MythDatabase) -> None:
    table = QueueDatabase(mythtv)
    row = insert_row(mythtv, hostname="bridge", cmds=4)
    change = RowChange(RowState.RUNNING, "42 % completed, " + "x" * 200, handled_command=1)
    assert table.write(row, host="bridge", state=1, change=change)
    assert table.write(row, host="bridge", state=4, change=change)  # the same values again
    assert not table.write(row, host="mythbox", state=4, change=change)
    assert not table.write(999, host="bridge", state=4, change=change)
    found = next(each for each in table.read_rows() if each.row_id == row)
    assert (found.state, found.command, len(found.comment)) == (4, 4, COMMENT_LENGTH)
    # A command is reset only if it is the one that was handled.
    assert table.write(row, host="bridge", state=4, change=RowChange(handled_command=4))
    found = next(each for each in table.read_rows() if each.row_id == row)
    assert (found.state, found.command) == (4, 0)
    assert table.release(row, host="bridge")
    # What it waited for here says nothing about MythTV's own queue.
    found = next(each for each in table.read_rows() if each.row_id == row)
    assert (found.state, found.hostname, found.comment) == (1, "", "")
    assert not table.release(row, host="bridge")


def test_a_late_write_does_not_overwrite_a_newer_state(mythtv: MythDatabase) -> None:
    # A server that was frozen carries a statement out after its client has given it up.
    table = QueueDatabase(mythtv)
    row = insert_row(mythtv, hostname="bridge", status=RowState.RUNNING)
    final = RowChange(RowState.FINISHED, "done")
    assert table.write(row, host="bridge", state=RowState.RUNNING, change=final)
    late = RowChange(RowState.PAUSED, "late")
    assert not table.write(row, host="bridge", state=RowState.RUNNING, change=late)
    found = next(each for each in table.read_rows() if each.row_id == row)
    assert (found.state, found.comment) == (RowState.FINISHED, "done")
    # The job's program has written the same state: its comment stays.
    assert table.write(row, host="bridge", state=RowState.RUNNING, change=final)
    assert not table.write(row, host="bridge", state=RowState.PAUSED, change=RowChange(comment="x"))


def test_recordings_in_use_are_exactly_the_given_ones(mythtv: MythDatabase) -> None:
    mythtv.execute(
        "INSERT INTO inuseprograms (chanid, starttime, recusage, lastupdatetime, hostname, rechost)"
        " VALUES (1002, '2026-11-22 17:00:00', 'player', UTC_TIMESTAMP(), 'sofa', 'mythbox'),"
        " (1002, '2026-11-22 17:00:00', 'player', '2026-01-01 00:00:00', 'gone', 'mythbox')"
    )
    table = QueueDatabase(mythtv)
    table.mark_in_use([KEY, (1001, START_MS)], host="bridge")
    table.mark_in_use([KEY], host="bridge")
    assert sorted(recordings.list_uses(mythtv, KEY)) == [
        ("jobqueue", "bridge"), ("player", "sofa"),
    ]  # fmt: skip
    assert mythtv.query("SELECT rechost FROM inuseprograms WHERE hostname = 'bridge'") == [
        {"rechost": "mythbox"}
    ]
    table.mark_in_use([], host="bridge")
    assert recordings.list_uses(mythtv, KEY) == [("player", "sofa")]


def test_a_recording(mythtv: MythDatabase) -> None:
    found = recordings.read_recording_by_key(mythtv, KEY)
    assert found is not None
    assert found == recordings.read_recording(mythtv, 5)
    assert found == recordings.read_recording_by_file(mythtv, "1002_20261122170000.ts")
    recording = found.recording
    assert (recording.title, recording.season, recording.episode) == ("Show with breaks", 1, 3)
    assert (recording.key, recording.duration_s) == ("1002_20261122170000", 410)
    assert (recording.hostname, recording.callsign, found.fps) == ("mythbox", "ZWEITES", 25.0)
    assert recordings.read_recording(mythtv, 999) is None


def test_a_recording_of_two_manual_rules_is_one(mythtv: MythDatabase) -> None:
    mythtv.execute("UPDATE recordedprogram SET syndicatedepisodenumber = 'old' WHERE manualid = 5")
    mythtv.execute("CREATE TEMPORARY TABLE copy SELECT * FROM recordedprogram WHERE manualid = 5")
    mythtv.execute("UPDATE copy SET manualid = 9, syndicatedepisodenumber = 'new'")
    mythtv.execute("INSERT INTO recordedprogram SELECT * FROM copy")
    found = recordings.read_recording(mythtv, 8)
    assert found is not None
    assert found.recording.syndicated_episode == "new"
    assert found.recording.original_airdate == ""


def test_values_of_a_recording_are_changed(mythtv: MythDatabase) -> None:
    assert recordings.update_row(mythtv, "recorded", 5, {"commflagged": 1, "cutlist": 0})
    assert not recordings.update_row(mythtv, "recorded", 5, {"commflagged": 1})
    row = recordings.read_row(mythtv, "recorded", 5)
    assert row is not None
    assert row["commflagged"] == 1
