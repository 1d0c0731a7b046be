"""Marks and flags of recordings: what is changed, what stays, and undo."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mythjobs.cli.main import run
from mythjobs.errors import BadRequest
from mythjobs.mythtv.database import marks, recordings
from mythjobs.mythtv.database.connection import MythDatabase
from mythjobs.mythtv.database.marks import Mark, MarkType
from mythjobs.mythtv.database.recordings import RecordedState
from mythjobs.mythtv.writeback import changes, undo_log
from mythjobs.mythtv.writeback.undo_log import RecordingBusy
from tests.integration.mythtv.killing import count_steps, kill_at_step
from tests.support.mythtv.backend import FakeBackend
from tests.support.mythtv.database import write_setting

BOOKMARK, BLANK = Mark(77, MarkType.BOOKMARK), Mark(90, MarkType.BLANK_FRAME)
CUTS = (Mark(0, MarkType.CUT_START), Mark(50, MarkType.CUT_END))
BREAKS = ((100, 2500), (9000, 12000))


@pytest.fixture
def state(mythtv: MythDatabase) -> RecordedState:
    found = changes.find_recording(mythtv, "5")
    marks.replace_marks(mythtv, found.key, (), [BOOKMARK, BLANK, *CUTS])
    return found


def read(mythtv: MythDatabase, state: RecordedState) -> tuple[list[Mark], list[Mark], int, int]:
    """Return marks of breaks, other marks, commflagged, cutlist."""
    found = marks.read_marks(mythtv, state.key)
    row = recordings.read_row(mythtv, "recorded", 5) or {}
    breaks = [each for each in found if each.type in marks.BREAK_TYPES]
    others = [each for each in found if each.type not in marks.BREAK_TYPES]
    return breaks, others, row["commflagged"], row["cutlist"]


def test_breaks_are_set_and_other_marks_stay(mythtv: MythDatabase, state: RecordedState) -> None:
    others = read(mythtv, state)[1]
    changes.set_breaks(mythtv, state, BREAKS)
    found = read(mythtv, state)
    assert found[0] == [Mark(100, 4), Mark(2500, 5), Mark(9000, 4), Mark(12000, 5)]
    assert found[1:3] == (others, 1)
    changes.clear_breaks(mythtv, state)
    assert read(mythtv, state) == ([], others, 0, 0)


def test_the_cut_list_is_set_and_breaks_stay(mythtv: MythDatabase, state: RecordedState) -> None:
    changes.set_breaks(mythtv, state, BREAKS)
    changes.set_cuts(mythtv, state, ((10, 20),))
    breaks, others, flagged, cutlist = read(mythtv, state)
    assert (len(breaks), flagged, cutlist) == (4, 1, 1)
    assert others == [Mark(10, 1), Mark(20, 0), BOOKMARK, BLANK]
    changes.set_cuts(mythtv, state, ())
    assert read(mythtv, state)[1:] == ([BOOKMARK, BLANK], 1, 0)


def test_undo_goes_back_step_by_step(mythtv: MythDatabase, state: RecordedState) -> None:
    first = read(mythtv, state)
    changes.set_breaks(mythtv, state, BREAKS)
    second = read(mythtv, state)
    changes.set_cuts(mythtv, state, ((10, 20),))
    changes.set_commflagged(mythtv, state, 3)
    assert read(mythtv, state)[2] == 3
    for expected in (None, second, first):
        changes.undo_marks(mythtv, undo_log.list_entries(mythtv, 5)[0])
        if expected is not None:
            assert read(mythtv, state) == expected
    assert undo_log.list_entries(mythtv, 5) == []


@pytest.mark.slow
def test_a_kill_at_each_step_leaves_a_change_that_is_finished(
    mythtv: MythDatabase, state: RecordedState
) -> None:
    before = read(mythtv, state)
    address = mythtv.address

    def change(database: MythDatabase) -> None:
        changes.set_breaks(database, state, BREAKS)

    steps = count_steps(address, change)
    assert steps > 5
    after = read(mythtv, state)
    for step in range(1, steps + 1):
        while entries := undo_log.list_entries(mythtv, 5):
            changes.undo_marks(mythtv, entries[0])
        assert read(mythtv, state) == before
        kill_at_step(address, change, step)
        is_begun = bool(undo_log.list_entries(mythtv, 5))
        with undo_log.locked_recording(mythtv, 5):
            undo_log.finish_interrupted(mythtv, 5)
        # Whole or not at all, and undone to what was before.
        assert read(mythtv, state) == (after if is_begun else before)


def test_only_one_program_changes_a_recording(mythtv: MythDatabase, state: RecordedState) -> None:
    with (
        MythDatabase(mythtv.address) as other,
        undo_log.locked_recording(other, 5),
        pytest.raises(RecordingBusy, match="being changed by another"),
        undo_log.locked_recording(mythtv, 5, timeout_s=0),
    ):
        pass
    with undo_log.locked_recording(mythtv, 5, timeout_s=0):
        pass


@pytest.mark.parametrize(
    "text", ["5", "1002_20261122170000", "/srv/recordings/1002_20261122170000.ts"]
)
def test_ways_to_name_a_recording(mythtv: MythDatabase, text: str) -> None:
    assert changes.find_recording(mythtv, text).recording.recordedid == 5


@pytest.mark.parametrize("text", ["999", "", "x.ts", "1002_20269922170000", "1002_20261122170001"])
def test_a_recording_that_does_not_exist(mythtv: MythDatabase, text: str) -> None:
    with pytest.raises(BadRequest, match="MythTV has no recording"):
        changes.find_recording(mythtv, text)


def use(mythtv: MythDatabase, usage: str) -> None:
    mythtv.execute(
        "INSERT INTO inuseprograms (chanid, starttime, recusage, lastupdatetime, hostname, rechost)"
        " VALUES (1002, '2026-11-22 17:00:00', %s, UTC_TIMESTAMP(), 'sofa', 'mythbox')",
        usage,
    )


def test_waiting_while_it_is_played(mythtv: MythDatabase, state: RecordedState) -> None:
    use(mythtv, "player")
    use(mythtv, "flagger")
    announced: list[str] = []
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 2:
            mythtv.execute("DELETE FROM inuseprograms WHERE recusage = 'player'")

    changes.wait_while_played(mythtv, state, timeout_s=None, on_wait=announced.append, sleep=sleep)
    assert slept == [10.0, 10.0]
    assert announced == ["recording 5 is in use (player on sofa); waiting"]


def test_waiting_has_an_end(mythtv: MythDatabase, state: RecordedState) -> None:
    use(mythtv, "player")
    with pytest.raises(RecordingBusy, match="player on sofa") as raised:
        changes.wait_while_played(mythtv, state, timeout_s=0)
    assert raised.value.exit_code == os.EX_TEMPFAIL


@pytest.fixture
def backend(mythtv: MythDatabase) -> Iterator[FakeBackend]:
    fake = FakeBackend()
    write_setting(mythtv, "BackendServerPort", str(fake.port), "mythbox")
    yield fake
    fake.close()


def test_clients_are_told_through_the_backend(mythtv: MythDatabase, backend: FakeBackend) -> None:
    assert changes.announce_change(mythtv, 5) == ""
    assert "MESSAGE[]:[]MASTER_UPDATE_REC_INFO 5" in backend.requests


def test_a_backend_that_does_not_run_is_no_failure(mythtv: MythDatabase) -> None:
    write_setting(mythtv, "BackendServerPort", "1", "mythbox")
    assert "no client was told" in changes.announce_change(mythtv, 5)


Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(
    mythtv: MythDatabase,
    backend: FakeBackend,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> Call:
    address = mythtv.address
    url = f"mysql://{address.user}:pass%2Fword@localhost/{address.name}?socket={address.socket}"
    monkeypatch.setenv("MYTHJOBS_MYTHTV_DATABASE", url)

    def called(*arguments: str) -> tuple[int, str, str]:
        code = run(["mythtv", *arguments])
        return (code, *capfd.readouterr())

    return called


def test_the_commands(
    call: Call, mythtv: MythDatabase, state: RecordedState, tmp_path: Path
) -> None:
    text = tmp_path / "show.txt"
    text.write_text("FILE PROCESSING COMPLETE   6900 FRAMES AT  2500\n-----\n100\t2500\n")
    code, out, err = call("set-skiplist", "5", "--comskip", str(text), "--json")
    assert (code, err) == (0, "")
    assert json.loads(out) == {"recordedid": 5, "skiplist": "100-2500", "cutlist": "0-50"}
    assert call("set-cutlist", "5", "10-20") == (
        0, "recording 5 changed; `mythjobs mythtv undo` reverts it\n", "",
    )  # fmt: skip
    edl = tmp_path / "show.edl"
    edl.write_text("4 8 3\n")
    assert call("set-skiplist", "5", "--edl", str(edl))[0] == 0
    assert read(mythtv, state)[0] == [Mark(100, 4), Mark(200, 5)]
    assert call("commflagged", "5", "free")[0] == 0
    code, out, _ = call("undo", "5", "--list", "--json")
    assert [each["summary"] for each in json.loads(out)] == [
        "commflagged: 3", "1 commercial breaks: 100-200", "cut list: 10-20",
        "1 commercial breaks: 100-2500",
    ]  # fmt: skip
    assert call("undo", "5") == (0, "undone: commflagged: 3\n", "")
    assert call("clear-skiplist", "5")[0] == 0
    assert read(mythtv, state)[0] == []
    assert call("wait-while-played", "5") == (0, "", "")


@pytest.mark.parametrize(
    "arguments, code, says",
    [
        (["set-skiplist", "5"], 2, "give one of RANGES"),
        (["set-skiplist", "5", "1-2", "--edl", "x"], 2, "give one of RANGES"),
        (["set-skiplist", "5", "--edl", "/nonexistent"], 2, "cannot read /nonexistent"),
        (["set-skiplist", "5", "x"], 2, "is not a range of frames"),
        (["set-skiplist", "999", "1-2"], 2, 'no recording "999"'),
        (["undo", "5"], 2, "has changed nothing"),
        (["undo", "5", "--discard"], 2, "keeps no old file"),
        (["replace", "5", "/nonexistent"], 2, "is not on this machine"),
    ],
)
def test_wrong_requests(call: Call, arguments: list[str], code: int, says: str) -> None:
    done = call(*arguments)
    assert done[0] == code
    assert says in done[2]


def test_a_new_seek_table_is_made_by_mythcommflag(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "mythcommflag"
    program.write_text(f'#!/bin/sh\necho "$@" >{tmp_path}/arguments\nexit $CODE\n')
    program.chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}:/nonexistent")  # without ffprobe
    for code, says in (("0", ""), ("3", "no new seek table")):
        old, new = tmp_path / "1002_20261122170000.ts", tmp_path / "new.ts"
        old.write_bytes(b"G" * 5000)
        new.write_bytes(b"G" * 6000)
        monkeypatch.setenv("CODE", code)
        done = call("replace", "5", str(new), "--path", str(old), "--delete-old", "--rebuild")
        assert done[0] == 0
        assert says in done[2]
        assert (tmp_path / "arguments").read_text() == (
            "--rebuild --chanid 1002 --starttime 20261122170000\n"
        )
