"""Replacement of a recording's file: what is changed, undo, and a kill at each step."""

import json
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from mythjobs.errors import BadRequest, ConfigError
from mythjobs.mythtv.database import marks, recordings
from mythjobs.mythtv.database.connection import MythDatabase
from mythjobs.mythtv.database.marks import Mark, MarkType, SeekEntry
from mythjobs.mythtv.database.recordings import RecordedState
from mythjobs.mythtv.writeback import changes, undo_log
from mythjobs.mythtv.writeback.media_file import FileNotSuitable
from mythjobs.mythtv.writeback.replacement import (
    discard,
    find_directory,
    recover,
    remove_kept_files,
    replace_recording,
    undo_replacement,
)
from tests.integration.mythtv.killing import count_steps, kill_at_step

NAME = "1002_20261122170000"
MARKS = [Mark(77, 2), Mark(100, 4), Mark(200, 5), Mark(5, 33, 410_000)]
SEEK = [SeekEntry(12 * n, 1000 * n, MarkType.GOP_BYFRAME) for n in range(40)]


class Recorded:
    """Recording 5, with files of its own."""

    def __init__(self, mythtv: MythDatabase, directory: Path) -> None:
        self.mythtv = mythtv
        self.directory = directory
        self.old = b"old" * 5000
        self.new = b"new" * 6000
        self.reset(".mkv")

    def reset(self, extension: str) -> None:
        """Let the recording have its old file; a new one waits as `self.source`."""
        for path in self.directory.iterdir():
            path.unlink()
        (self.directory / f"{NAME}.ts").write_bytes(self.old)
        (self.directory / f"{NAME}.ts.png").write_bytes(b"picture")
        (self.directory / f"{NAME}.ts.64.100x75.png").write_bytes(b"small")
        (self.directory / "other.ts.png").write_bytes(b"other")
        self.source = self.directory.parent / f"new{extension}"
        self.source.write_bytes(self.new)
        values = {
            "basename": f"{NAME}.ts", "filesize": len(self.old), "transcoded": 0, "cutlist": 1,
        }  # fmt: skip
        recordings.update_row(self.mythtv, "recorded", 5, values)
        recordings.update_row(self.mythtv, "recordedfile", 5, {"basename": f"{NAME}.ts"})
        with undo_log.locked_recording(self.mythtv, 5):
            self.mythtv.execute("DELETE FROM mythjobs_undo")
        marks.replace_marks(self.mythtv, self.state.key, (), MARKS)
        marks.replace_seek_table(self.mythtv, self.state.key, SEEK)

    @property
    def state(self) -> RecordedState:
        return changes.find_recording(self.mythtv, "5")

    def files(self) -> dict[str, int]:
        return {each.name: each.stat().st_size for each in self.directory.iterdir()}

    def row(self) -> dict[str, object]:
        row = recordings.read_row(self.mythtv, "recorded", 5) or {}
        return {name: value for name, value in row.items() if name != "lastmodified"}

    def replace(self, **options: bool) -> str:
        return replace_recording(self.mythtv, self.state, self.source, self.directory, **options)

    def current(self) -> bytes:
        """Return the content of the file that MythTV would play."""
        return (self.directory / self.state.recording.basename).read_bytes()


@pytest.fixture
def recorded(mythtv: MythDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recorded:
    """Without ffprobe: these files are no videos."""
    monkeypatch.setenv("PATH", "/nonexistent")
    directory = tmp_path / "recordings"
    directory.mkdir()
    return Recorded(mythtv, directory)


def test_the_file_is_replaced(recorded: Recorded) -> None:
    os.chmod(recorded.directory / f"{NAME}.ts", 0o664)
    assert recorded.replace() == f"{NAME}.mkv"
    assert recorded.current() == recorded.new
    assert recorded.files() == {
        f"{NAME}.mkv": 18000, f"{NAME}.ts.mythjobs-old": 15000, f"{NAME}.mkv.png": 7,
        f"{NAME}.mkv.64.100x75.png": 5, "other.ts.png": 5,
    }  # fmt: skip
    assert (recorded.directory / f"{NAME}.mkv").stat().st_mode & 0o777 == 0o664
    assert not recorded.source.exists()
    row = recordings.read_row(recorded.mythtv, "recorded", 5) or {}
    assert (row["filesize"], row["transcoded"], row["cutlist"]) == (18000, 1, 1)
    file_row = recordings.read_row(recorded.mythtv, "recordedfile", 5) or {}
    assert (file_row["basename"], file_row["container"]) == (f"{NAME}.mkv", "Matroska")
    key = recorded.state.key
    assert sorted(marks.read_marks(recorded.mythtv, key)) == sorted(MARKS)
    assert marks.read_seek_table(recorded.mythtv, key) == []


def test_marks_are_dropped_but_not_bookmarks(recorded: Recorded) -> None:
    recorded.replace(drops_marks=True, is_keeping=False)
    assert marks.read_marks(recorded.mythtv, recorded.state.key) == [Mark(77, 2)]
    row = recordings.read_row(recorded.mythtv, "recorded", 5) or {}
    assert (row["cutlist"], row["commflagged"]) == (0, 0)
    assert f"{NAME}.ts.mythjobs-old" not in recorded.files()
    assert undo_log.list_entries(recorded.mythtv, 5) == []


def take_snapshot(recorded: Recorded) -> tuple[object, ...]:
    """Return the files of the recording, and all that the database has about it."""
    row = recordings.read_row(recorded.mythtv, "recorded", 5) or {}
    return (
        recorded.files(),
        recordings.read_row(recorded.mythtv, "recordedfile", 5),
        {name: value for name, value in row.items() if name != "lastmodified"},
        marks.read_marks(recorded.mythtv, recorded.state.key),
        marks.read_seek_table(recorded.mythtv, recorded.state.key),
    )


@pytest.mark.parametrize("extension", [".mkv", ".ts"])
def test_undo_restores_everything(recorded: Recorded, extension: str) -> None:
    recorded.reset(extension)
    before = take_snapshot(recorded)
    recorded.replace(drops_marks=True)
    assert recorded.current() == recorded.new
    [entry] = undo_log.list_entries(recorded.mythtv, 5)
    undo_replacement(recorded.mythtv, entry, recorded.directory)
    assert recorded.current() == recorded.old
    assert before == take_snapshot(recorded)
    assert undo_log.list_entries(recorded.mythtv, 5) == []


def test_the_old_file_is_discarded_only_where_it_is(recorded: Recorded, tmp_path: Path) -> None:
    """Observed: on another machine the undo log forgot the old file, which stayed for ever."""
    recorded.replace()
    [entry] = undo_log.list_entries(recorded.mythtv, 5)
    with pytest.raises(BadRequest, match="not on this machine; repeat this where"):
        discard(recorded.mythtv, entry, tmp_path / "none")
    assert undo_log.list_entries(recorded.mythtv, 5) == [entry]
    # A file that somebody has deleted here is no reason to keep the entry.
    (recorded.directory / f"{NAME}.ts.mythjobs-old").unlink()
    discard(recorded.mythtv, entry, recorded.directory)
    assert undo_log.list_entries(recorded.mythtv, 5) == []


def test_the_old_file_is_discarded(recorded: Recorded) -> None:
    recorded.replace()
    # Somebody gave the recording its old name again.
    (recorded.directory / f"{NAME}.mkv").rename(recorded.directory / f"{NAME}.ts")
    recordings.update_row(recorded.mythtv, "recorded", 5, {"basename": f"{NAME}.ts"})
    recorded.source.write_bytes(recorded.new)
    with pytest.raises(BadRequest, match="kept from an earlier replacement"):
        recorded.replace()
    [entry] = undo_log.list_entries(recorded.mythtv, 5)
    discard(recorded.mythtv, entry, recorded.directory)
    assert f"{NAME}.ts.mythjobs-old" not in recorded.files()


@pytest.mark.slow
@pytest.mark.parametrize("extension, is_keeping", [(".mkv", True), (".ts", True), (".ts", False)])
def test_a_kill_at_each_step_leaves_a_complete_recording(
    recorded: Recorded, extension: str, is_keeping: bool
) -> None:
    def change(database: MythDatabase) -> None:
        state = changes.find_recording(database, "5")
        replace_recording(
            database, state, recorded.source, recorded.directory, is_keeping=is_keeping
        )

    address = recorded.mythtv.address
    recorded.reset(extension)
    steps = count_steps(address, change)
    assert steps > 20
    finished = recorded.files()
    for step in range(1, steps + 1):
        recorded.reset(extension)
        kill_at_step(address, change, step)
        assert recorded.current() in (recorded.old, recorded.new), step
        # The next run finishes or rolls back, and replaces then.
        if recorded.source.exists():
            change(recorded.mythtv)
        assert recorded.current() == recorded.new, step
        assert recorded.files() == finished, step
        states = [each.state for each in undo_log.list_entries(recorded.mythtv, 5)]
        assert states == (["done"] if is_keeping else []), step
        assert marks.read_seek_table(recorded.mythtv, recorded.state.key) == []


@pytest.mark.slow
@pytest.mark.parametrize("extension", [".mkv", ".ts"])
def test_a_kill_at_each_step_of_undo(recorded: Recorded, extension: str) -> None:
    def change(database: MythDatabase) -> None:
        entries = undo_log.list_entries(database, 5)
        undo_replacement(database, entries[0], recorded.directory)

    recorded.reset(extension)
    before = recorded.files()
    recorded.replace()
    steps = count_steps(recorded.mythtv.address, change)
    for step in range(1, steps + 1):
        recorded.reset(extension)
        recorded.replace()
        kill_at_step(recorded.mythtv.address, change, step)
        assert recorded.current() in (recorded.old, recorded.new), step
        if undo_log.list_entries(recorded.mythtv, 5):
            change(recorded.mythtv)
        assert recorded.current() == recorded.old, step
        assert recorded.files() == before, step
        assert marks.read_seek_table(recorded.mythtv, recorded.state.key) == SEEK


def test_a_recording_that_was_deleted_meanwhile(recorded: Recorded) -> None:
    def change(database: MythDatabase) -> None:
        state = changes.find_recording(database, "5")
        replace_recording(database, state, recorded.source, recorded.directory)

    kill_at_step(recorded.mythtv.address, change, 10)
    assert [each for each in recorded.files() if "mythjobs" in each]
    (recorded.directory / f"{NAME}.ts").unlink(missing_ok=True)
    recorded.mythtv.execute("DELETE FROM recorded WHERE recordedid = 5")
    recover(recorded.mythtv, recorded.directory, 5)
    assert not [each for each in recorded.files() if "mythjobs" in each]


def test_the_kept_file_of_a_deleted_recording_is_deleted(recorded: Recorded) -> None:
    recorded.replace()
    kept = recorded.directory / f"{NAME}.ts.mythjobs-old"
    remove_kept_files(recorded.mythtv)
    assert kept.exists()
    recorded.mythtv.execute("DELETE FROM recorded WHERE recordedid = 5")
    # On a machine that has another directory of this name.
    elsewhere = kept.rename(recorded.source.with_name("elsewhere"))
    remove_kept_files(recorded.mythtv)
    elsewhere.rename(kept)
    remove_kept_files(recorded.mythtv)
    assert not kept.exists()
    assert undo_log.list_orphans(recorded.mythtv) == []


def test_a_file_on_another_file_system_is_copied(
    recorded: Recorded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shm = Path("/dev/shm")
    if shm.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("/dev/shm is on the same file system")
    source = shm / f"mythjobs-test-{os.getpid()}.mkv"
    source.write_bytes(recorded.new)
    try:
        replace_recording(recorded.mythtv, recorded.state, source, recorded.directory)
        assert not source.exists()
    finally:
        source.unlink(missing_ok=True)
    assert recorded.current() == recorded.new


def test_a_symbolic_link_to_the_new_file_is_followed(recorded: Recorded) -> None:
    target = recorded.source.rename(recorded.source.with_name("target.mkv"))
    recorded.source.symlink_to(target)
    assert recorded.replace() == f"{NAME}.mkv"
    assert not (recorded.directory / f"{NAME}.mkv").is_symlink()
    assert not recorded.source.is_symlink()
    # Whoever uses the target must not change the recording.
    target.write_bytes(b"other")
    assert recorded.current() == recorded.new


def test_a_journal_that_another_command_removes_is_left_out(recorded: Recorded) -> None:
    # A dangling link is listed, and its file is gone when it is read.
    (recorded.directory / "other.ts.mythjobs-replace").symlink_to("gone")
    assert recorded.replace() == f"{NAME}.mkv"


def test_files_that_are_refused(recorded: Recorded) -> None:
    def refuse(source: Path, kind: type[Exception], match: str) -> None:
        with pytest.raises(kind, match=match):
            replace_recording(recorded.mythtv, recorded.state, source, recorded.directory)
        assert recorded.current() == recorded.old

    refuse(recorded.source.with_name("missing.mkv"), BadRequest, "is no file")
    refuse(recorded.directory / f"{NAME}.ts", BadRequest, "own file")
    recorded.source.write_bytes(b"x" * 999)
    refuse(recorded.source, FileNotSuitable, "999 bytes")
    unknown = recorded.source.with_name("unknown")
    unknown.write_bytes(b"?" * 5000)
    refuse(unknown, BadRequest, "no kind of video")
    taken = recorded.directory / f"{NAME}.mkv"
    taken.write_bytes(b"taken")
    recorded.source.write_bytes(recorded.new)
    refuse(recorded.source, BadRequest, "exists already")


@pytest.mark.parametrize(
    "head, extension",
    [
        (b"NuppelVideo", ".nuv"), (b"\x1aE\xdf\xa3", ".mkv"), (b"\0\0\0\x20ftypisom", ".mp4"),
        (b"\0\0\1\xba", ".mpg"), (b"G\x40\0", ".ts"),
    ],
)  # fmt: skip
def test_the_type_follows_from_the_content(recorded: Recorded, head: bytes, extension: str) -> None:
    recorded.source = recorded.source.with_name("transcoded")
    recorded.source.write_bytes(head + recorded.new)
    assert recorded.replace() == NAME + extension


def test_the_directory_of_a_recording(recorded: Recorded) -> None:
    with pytest.raises(BadRequest, match=r"not on this machine.*/srv/recordings.*--path"):
        find_directory(recorded.mythtv, recorded.state)
    maps = {"/srv/recordings": str(recorded.directory)}
    assert find_directory(recorded.mythtv, recorded.state, maps) == recorded.directory


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
def test_a_real_video_is_checked(mythtv: MythDatabase, tmp_path: Path) -> None:
    directory = tmp_path / "recordings"
    directory.mkdir()

    def make(path: Path, seconds: int, rate: int = 25) -> None:
        subprocess.run(
            ["ffmpeg", "-v", "error", "-y", "-f", "lavfi", "-i",
             f"testsrc=size=64x48:rate={rate}:duration={seconds}", "-c:v", "mpeg2video", path],
            check=True,
        )  # fmt: skip

    old = directory / f"{NAME}.ts"
    make(old, 20)
    state = changes.find_recording(mythtv, "5")
    short, rate, good, broken = (tmp_path / f"{n}.mkv" for n in ("a", "b", "c", "d"))
    make(short, 5)
    make(rate, 20, 50)
    make(good, 20)
    broken.write_bytes(b"x" * 5000)
    for path, says in (
        (short, "lasts 5 s, the recording 20 s"),
        (rate, "50 frames per second"),
        (broken, "ffprobe cannot read"),
    ):
        with pytest.raises(FileNotSuitable, match=says):
            replace_recording(mythtv, state, path, directory)
    replace_recording(mythtv, state, good, directory)
    row = recordings.read_row(mythtv, "recordedfile", 5) or {}
    assert (row["width"], row["fps"], row["video_codec"]) == (64, 25.0, "MPEG2VIDEO")


def test_a_file_name_of_the_database_cannot_leave_the_directory(recorded: Recorded) -> None:
    victim = recorded.directory.parent / "victim.mkv"
    victim.write_bytes(recorded.old)
    for name in ("../victim.mkv", str(victim), "..", ""):
        recordings.update_row(recorded.mythtv, "recorded", 5, {"basename": name})
        with pytest.raises(BadRequest, match="no plain file name"):
            recorded.replace()
        with pytest.raises(BadRequest, match="no plain file name"):
            find_directory(recorded.mythtv, recorded.state)
    assert victim.read_bytes() == recorded.old
    assert sorted(each.name for each in recorded.directory.parent.glob("victim*")) == ["victim.mkv"]


def test_names_in_the_undo_log_cannot_leave_the_directory(recorded: Recorded) -> None:
    recorded.replace()
    victim, kept = recorded.directory.parent / "victim", recorded.directory.parent / "x"
    victim.write_bytes(b"victim")
    kept.with_name("x.mythjobs-old").write_bytes(b"x")
    with undo_log.locked_recording(recorded.mythtv, 5):
        [entry] = undo_log.list_entries(recorded.mythtv, 5)
    for old, new in ((f"{NAME}.ts", "../victim"), ("../x", f"{NAME}.mkv")):
        replaced = (old, new, str(recorded.directory))
        changed = replace(entry, change=replace(entry.change, replaced=replaced))
        with pytest.raises(BadRequest, match="no plain file name"):
            undo_replacement(recorded.mythtv, changed, recorded.directory)
        with pytest.raises(BadRequest, match="no plain file name"):
            discard(recorded.mythtv, changed, recorded.directory)
    assert victim.read_bytes() == b"victim"
    assert kept.with_name("x.mythjobs-old").exists()
    assert recorded.current() == recorded.new


def test_names_in_a_journal_cannot_leave_the_directory(recorded: Recorded) -> None:
    """Whoever may write in the directory of the recordings can write journals there."""
    victim = recorded.directory.parent / "victim.mythjobs-part"
    victim.write_bytes(b"victim")
    journal = {
        "step": "copying", "recordedid": 5, "source": "/x", "old": f"{NAME}.ts", "new": "../victim",
    }  # fmt: skip
    (recorded.directory / "a.mythjobs-replace").write_text(json.dumps(journal))
    with pytest.raises(ConfigError, match="cannot be read"):
        recorded.replace()
    assert victim.read_bytes() == b"victim"
