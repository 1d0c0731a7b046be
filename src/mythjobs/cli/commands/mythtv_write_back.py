"""`mythjobs mythtv set-skiplist`, `replace`, `undo` and others: changes to MythTV's recordings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from mythjobs.cli import terminal
from mythjobs.cli.commands.mythtv import database_options, open_database
from mythjobs.cli.options import DURATION, TEXT, NumberType
from mythjobs.cli.session import command, json_option
from mythjobs.errors import BadRequest

if TYPE_CHECKING:
    from mythjobs.mythtv.database.connection import MythDatabase
    from mythjobs.mythtv.database.recordings import RecordedState
    from mythjobs.mythtv.writeback.ranges import Ranges

_SKIPLIST: Final = """Examples:
  mythjobs mythtv set-skiplist 12 100-2500,9000-12000
  mythjobs mythtv set-skiplist 12 --comskip show.txt
  mythjobs mythtv set-skiplist 1001_20260715181300.ts --edl show.edl"""
_REPLACE: Final = """Examples:
  mythjobs mythtv replace 12 /tmp/smaller.mkv
  mythjobs mythtv replace 12 /tmp/without-breaks.mkv --drop-marks --delete-old
  mythjobs mythtv undo 12"""

_recording = click.argument("recording", type=TEXT)
_MAX_FILE_BYTES: Final = 16 << 20


def _ranges_options(function: Any) -> Any:
    for option in (
        click.option("--fps", type=NumberType(1, 1000), help="Frames per second, for --edl."),
        click.option("--comskip", metavar="FILE", help="comskip's .txt file (-: stdin)."),
        click.option("--edl", metavar="FILE", help="Edit list: seconds and type (-: stdin)."),
        click.argument("ranges", required=False, type=TEXT),
    ):
        function = option(function)
    return function


@command("set-skiplist", epilog=_SKIPLIST)
@_recording
@_ranges_options
@database_options
@json_option
def set_skiplist(recording: str, config: str, database: str, as_json: bool, **given: Any) -> None:
    """Replace the commercial breaks of a recording, and mark it as flagged.

    RECORDING is its id, its file, or channel and start in UTC like 1001_20260715181300. RANGES are
    frames like 100-2500,9000-12000. Cut list and bookmarks stay.
    """
    from mythjobs.mythtv.writeback.changes import set_breaks

    _change(
        recording, config, database, as_json,
        lambda opened, state: set_breaks(opened, state, _read_ranges(state, **given)),
    )  # fmt: skip


@command("clear-skiplist")
@_recording
@database_options
@json_option
def clear_skiplist(recording: str, config: str, database: str, as_json: bool) -> None:
    """Remove the commercial breaks of a recording, and mark it as not flagged."""
    from mythjobs.mythtv.writeback.changes import clear_breaks

    _change(recording, config, database, as_json, clear_breaks)


@command("set-cutlist", epilog="Example:\n  mythjobs mythtv set-cutlist 12 0-250,9000-")
@_recording
@_ranges_options
@database_options
@json_option
def set_cutlist(recording: str, config: str, database: str, as_json: bool, **given: Any) -> None:
    """Replace the cut list of a recording; RANGES "" removes it.

    Commercial breaks and bookmarks stay.
    """
    from mythjobs.mythtv.writeback.changes import set_cuts

    _change(
        recording, config, database, as_json,
        lambda opened, state: set_cuts(opened, state, _read_ranges(state, **given)),
    )  # fmt: skip


@command("commflagged", epilog="Example:\n  mythjobs mythtv commflagged 12 free")
@_recording
@click.argument("value", type=click.Choice(["no", "yes", "processing", "free"]))
@database_options
@json_option
def commflagged(recording: str, value: str, config: str, database: str, as_json: bool) -> None:
    """Set whether the commercials of a recording are flagged; free: it has none."""
    from mythjobs.mythtv.writeback.changes import FLAGS, set_commflagged

    _change(
        recording, config, database, as_json,
        lambda opened, state: set_commflagged(opened, state, FLAGS[value]),
    )  # fmt: skip


@command("wait-while-played")
@_recording
@click.option(
    "--timeout", "timeout_s", type=DURATION, help="Give up after this, with exit code 75."
)
@database_options
def wait_while_played(recording: str, timeout_s: float | None, config: str, database: str) -> None:
    """Wait until no player uses the recording.

    Exit code 75 lets the master try the job again later.
    """
    from mythjobs.mythtv.writeback import changes

    with open_database(config, database) as opened:
        changes.wait_while_played(
            opened, changes.find_recording(opened, recording), timeout_s=timeout_s,
            on_wait=terminal.print_message,
        )  # fmt: skip


@command("replace", epilog=_REPLACE)
@_recording
@click.argument("file", type=TEXT)
@click.option("--delete-old", is_flag=True, help="Delete the old file. Default: kept for undo.")
@click.option(
    "--drop-marks", is_flag=True,
    help="Remove cut list, breaks and other marks but bookmarks: frames have other numbers now.",
)  # fmt: skip
@click.option(
    "--rebuild", is_flag=True,
    help="Let mythcommflag make a new seek table, which MPEG files need for quick jumps.",
)  # fmt: skip
@click.option("--path", metavar="FILE", help="The recording's file on this machine.")
@click.option(
    "--timeout", "timeout_s", type=DURATION,
    help="Give up with exit code 75 if the recording is in use for longer.",
)  # fmt: skip
@database_options
@json_option
def replace(
    recording: str,
    file: str,
    delete_old: bool,
    drop_marks: bool,
    rebuild: bool,
    path: str | None,
    timeout_s: float | None,
    config: str,
    database: str,
    as_json: bool,
) -> None:
    """Put FILE in the place of a recording's file, after a transcode.

    Waits while the recording is played. Sets name, size and the flag `transcoded`, clears the seek
    table, renames previews. If it is killed, the old or the new file is complete and in use, and
    the next run finishes. FILE is removed at the end.
    """
    from mythjobs.mythtv.writeback import changes
    from mythjobs.mythtv.writeback.replacement import find_directory, replace_recording

    with open_database(config, database) as opened:
        state = changes.find_recording(opened, recording)
        directory = _directory_of(path) if path else find_directory(opened, state)
        changes.wait_while_played(
            opened, state, timeout_s=timeout_s, usages=lambda usage: usage != "jobqueue",
            on_wait=terminal.print_message,
        )  # fmt: skip
        name = replace_recording(
            opened, state, Path(file), directory,
            is_keeping=not delete_old, drops_marks=drop_marks,
        )  # fmt: skip
        recordedid = state.recording.recordedid
        if rebuild:
            _rebuild_seek_table(state)
        _announce(opened, recordedid)
    if as_json:
        terminal.print_json({"recordedid": recordedid, "file": str(directory / name)})
    else:
        terminal.print_line(f"recording {recordedid} is now {directory / name}")


@command("undo", epilog="Examples:\n  mythjobs mythtv undo 12 --list\n  mythjobs mythtv undo 12")
@_recording
@click.option("--list", "is_listing", is_flag=True, help="List the changes; undo nothing.")
@click.option("--discard", is_flag=True, help="Delete the kept old file; undo nothing.")
@database_options
@json_option
def undo(
    recording: str, is_listing: bool, discard: bool, config: str, database: str, as_json: bool
) -> None:
    """Undo the last change that mythjobs made to a recording: marks, flags, or its file."""
    from mythjobs.mythtv.writeback import changes, replacement, undo_log

    with open_database(config, database) as opened:
        state = changes.find_recording(opened, recording)
        recordedid = state.recording.recordedid
        with undo_log.locked_recording(opened, recordedid):
            undo_log.finish_interrupted(opened, recordedid)
            entries = undo_log.list_entries(opened, recordedid)
            if is_listing:
                _print_entries(entries, as_json)
                return
            if discard:
                entries = [each for each in entries if each.change.replaced is not None]
            if not entries:
                what = "keeps no old file of" if discard else "has changed nothing of"
                raise BadRequest(f"mythjobs {what} recording {recordedid}")
            entry = entries[0]
            if entry.change.replaced is None:
                changes.undo_marks(opened, entry)
            else:
                directory = Path(entry.change.replaced[2])
                if entry.state == undo_log.PENDING:
                    raise BadRequest(
                        f"the replacement of {entry.change.replaced[0]} was interrupted; repeat "
                        "`mythjobs mythtv replace` where the file is"
                    )
                act = replacement.discard if discard else replacement.undo_replacement
                act(opened, entry, directory)
        if not discard:
            _announce(opened, recordedid)
    verb = "discarded" if discard else "undone"
    if as_json:
        terminal.print_json({"recordedid": recordedid, verb: entry.change.summary})
    else:
        terminal.print_line(f"{verb}: {entry.change.summary}")


def _rebuild_seek_table(state: RecordedState) -> None:
    from mythjobs.mythtv.recording import format_key
    from mythjobs.process import INHERIT, Exited, MythSystem

    recording = state.recording
    start = format_key(recording.chanid, recording.start_ms).partition("_")[2]
    argv = ["mythcommflag", "--rebuild", "--chanid", str(recording.chanid), "--starttime", start]
    done = MythSystem(argv, stdout=INHERIT, stderr=INHERIT).run()
    if done.outcome != Exited(0):
        # The recording can be played without a seek table, so the replacement is not undone.
        terminal.print_message(f"no new seek table: mythcommflag --rebuild: {done.outcome}")


def _print_entries(entries: list[Any], as_json: bool) -> None:
    if as_json:
        terminal.print_json(
            [
                {"id": each.id, "made": f"{each.made}Z", "summary": each.change.summary}
                for each in entries
            ]
        )
        return
    rows = [(f"{each.made} UTC", each.change.summary) for each in entries]
    terminal.print_table(("made", "change"), rows)


def _change(
    recording: str,
    config: str,
    database: str,
    as_json: bool,
    change: Callable[[MythDatabase, RecordedState], None],
) -> None:
    from mythjobs.mythtv.database import marks
    from mythjobs.mythtv.parameters import format_frames
    from mythjobs.mythtv.writeback.changes import find_recording

    with open_database(config, database) as opened:
        state = find_recording(opened, recording)
        change(opened, state)
        recordedid = state.recording.recordedid
        _announce(opened, recordedid)
        if not as_json:
            terminal.print_line(
                f"recording {recordedid} changed; `mythjobs mythtv undo` reverts it"
            )
            return
        found = marks.read_marks(opened, state.key)
        kinds = {
            "skiplist": (marks.MarkType.COMM_START, marks.MarkType.COMM_END),
            "cutlist": (marks.MarkType.CUT_START, marks.MarkType.CUT_END),
        }
        terminal.print_json(
            {"recordedid": recordedid}
            | {name: format_frames(marks.pair_marks(found, *kind)) for name, kind in kinds.items()}
        )


def _announce(opened: MythDatabase, recordedid: int) -> None:
    from mythjobs.mythtv.writeback.changes import announce_change

    if sentence := announce_change(opened, recordedid):
        terminal.print_message(sentence)


def _read_ranges(
    state: RecordedState,
    ranges: str | None,
    edl: str | None,
    comskip: str | None,
    fps: float | None,
) -> Ranges:
    from mythjobs.mythtv.writeback.ranges import parse_comskip, parse_edl, parse_frames

    given = [each for each in (ranges, edl, comskip) if each is not None]
    if len(given) != 1:
        raise click.UsageError("give one of RANGES, --edl FILE and --comskip FILE")
    if ranges is not None:
        return parse_frames(ranges)
    if comskip is not None:
        return parse_comskip(_read_text(comskip))
    assert edl is not None
    return parse_edl(_read_text(edl), fps or state.fps)


def _read_text(path: str) -> str:
    from mythjobs.config.bounded_files import read_input

    try:
        return read_input(path, _MAX_FILE_BYTES).decode()
    except OSError as error:
        raise BadRequest(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise BadRequest(f"{path} is not a text file") from None


def _directory_of(path: str) -> Path:
    found = Path(path).absolute()
    if not found.is_file():
        raise BadRequest(f"{found}, given with --path, is not a file")
    return found.parent
