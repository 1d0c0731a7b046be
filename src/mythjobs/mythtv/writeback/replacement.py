"""Replacement of a recording's file, with a journal beside it, and its undo.

At each instant `recorded` names a file that is complete: the old or the new one. The step that
decides is the update of `recorded`, or the rename if both files have one name.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from mythjobs.config.files import replace_file, sync_directory
from mythjobs.errors import BadRequest, ConfigError
from mythjobs.mythtv.database import marks, recordings, settings
from mythjobs.mythtv.database.connection import MythDatabase
from mythjobs.mythtv.database.marks import MarkType
from mythjobs.mythtv.database.recordings import RecordedState
from mythjobs.mythtv.writeback import undo_log
from mythjobs.mythtv.writeback.media_file import (
    MediaInfo,
    check_file,
    describe_file,
    find_extension,
    is_file_name,
    place_copy,
)
from mythjobs.mythtv.writeback.undo_log import RecordedChange, RecordedPart, UndoEntry

_JOURNAL: Final = ".mythjobs-replace"
_PART: Final = ".mythjobs-part"
_OLD: Final = ".mythjobs-old"
# Never changed: where a user was.
_BOOKMARKS: Final = (MarkType.BOOKMARK, MarkType.UTIL_PROGSTART, MarkType.UTIL_LASTPLAYPOS)


@dataclass(frozen=True)
class ReplacementJournal:
    """What a replacement needs to be finished. step: `copying` (rolled back) or `switching`
    (finished). entry: of the undo log. is_keeping: the old file is kept for undo."""

    step: str
    recordedid: int
    source: str
    old: str
    new: str
    is_keeping: bool = True
    entry: int = 0


def find_directory(
    database: MythDatabase, state: RecordedState, maps: Mapping[str, str] | None = None
) -> Path:
    """Return the directory of the recording's file on this machine. Raises BadRequest.

    maps: directories here for those of MythTV's storage groups.
    """
    recording = state.recording
    _check_names(recording.basename)
    groups = settings.read_storage_groups(database)
    own = groups.get((recording.storage_group, recording.hostname), ())
    others = [
        each for (_, host), dirs in groups.items() if host == recording.hostname for each in dirs
    ]
    places = list(dict.fromkeys([*own, *others]))
    for each in places:
        here = Path((maps or {}).get(each, each))
        # An interrupted replacement is found too.
        if (here / recording.basename).is_file():
            return here
    raise BadRequest(
        f"{recording.basename} is not on this machine (looked in "
        f"{', '.join(places) or 'nothing'}); run the command where the file is, or give its path "
        "with --path"
    )


def replace_recording(
    database: MythDatabase,
    state: RecordedState,
    source: Path,
    directory: Path,
    *,
    is_keeping: bool = True,
    drops_marks: bool = False,
) -> str:
    """Let `source` take the place of the recording's file; return the new file's name.

    Finishes or rolls back an interrupted replacement of this recording first. is_keeping: keep the
    old file, for undo. drops_marks: remove all marks but bookmarks, because frames have other
    numbers now. `source` is removed at the end. Raises BadRequest, FileNotSuitable, RecordingBusy.
    """
    recordedid = state.recording.recordedid
    source = source.absolute()
    with undo_log.locked_recording(database, recordedid):
        journal = recover(database, directory, recordedid)
        if journal is not None and journal.source == str(source):
            source.unlink(missing_ok=True)
            return journal.new
        state = _read_again(database, recordedid)
        old = state.recording.basename
        _check_names(old)
        if source.exists() and source.samefile(directory / old):
            if source.resolve() == (directory / old).resolve():
                raise BadRequest(f"{source} is the recording's own file")
            # A hard link of the file: the last run was killed after everything else.
            source.unlink()
            return old
        info = check_file(source, directory / old, is_shorter=drops_marks)
        extension = find_extension(source)
        new = Path(old).stem + extension
        if new != old and (directory / new).exists():
            raise BadRequest(
                f"{directory / new} exists already; write the new file to another directory, or "
                "remove the file if it is of no use"
            )
        if (directory / f"{old}{_OLD}").exists():
            raise BadRequest(
                f"{directory / old}{_OLD} is kept from an earlier replacement; remove it with "
                f"`mythjobs mythtv undo {recordedid} --discard`, or restore it with undo"
            )
        undo_log.finish_interrupted(database, recordedid)
        begun = ReplacementJournal("copying", recordedid, str(source), old, new, is_keeping)
        _write_journal(directory, begun)
        place_copy(source, directory / f"{new}{_PART}", directory / old)
        change = _plan_change(database, state, directory, new, info, drops_marks)
        entry = undo_log.begin_change(database, change)
        _write_journal(directory, replace(begun, step="switching", entry=entry))
        _finish(database, directory, replace(begun, entry=entry), change)
        undo_log.prune(database, recordedid)
        remove_kept_files(database)
        source.unlink(missing_ok=True)
        return new


def recover(database: MythDatabase, directory: Path, recordedid: int) -> ReplacementJournal | None:
    """Finish or roll back an interrupted replacement; return its journal if it was finished."""
    row = recordings.read_row(database, "recorded", recordedid)
    if row is not None:
        _remove_temporary(directory, f"{row['basename']}{_JOURNAL}")
    for path in sorted(directory.glob(f"*{_JOURNAL}")):
        try:
            journal = _read_journal(path)
        except FileNotFoundError:
            continue  # the replacement of another recording has just been finished
        if journal.recordedid != recordedid:
            continue
        _remove_temporary(directory, path.name)
        found = [
            each for each in undo_log.list_entries(database, recordedid) if each.id == journal.entry
        ]
        if journal.step == "copying" or not found:
            # Nothing was switched. A row of the undo log that no journal names is void.
            (directory / f"{journal.new}{_PART}").unlink(missing_ok=True)
            for each in undo_log.list_entries(database, recordedid):
                if each.state == undo_log.PENDING and each.change.replaced is not None:
                    undo_log.remove_entry(database, each.id)
            path.unlink()
            return None
        _finish(database, directory, journal, found[0].change)
        return journal
    return None


def undo_replacement(database: MythDatabase, entry: UndoEntry, directory: Path) -> None:
    """Put the old file back. It can be repeated after an interruption. Raises BadRequest."""
    change = entry.change
    assert change.replaced is not None
    _check_names(*change.replaced[:2])
    old, new = directory / change.replaced[0], directory / change.replaced[1]
    kept = directory / f"{change.replaced[0]}{_OLD}"
    if not kept.exists() and (entry.state != undo_log.UNDOING or not old.exists()):
        raise BadRequest(
            f"the old file {kept} is not on this machine, so it cannot be restored here"
        )
    undo_log.set_state(database, entry.id, undo_log.UNDOING)
    if kept.exists():
        os.rename(kept, old)
        sync_directory(directory)
    undo_log.apply_part(database, change, change.before)
    _rename_previews(directory, new.name, old.name)
    if new != old:
        new.unlink(missing_ok=True)
    undo_log.remove_entry(database, entry.id)


def remove_kept_files(database: MythDatabase) -> None:
    """Delete old files on this machine that were kept of recordings which MythTV has deleted since:
    MythTV does not know them. Those that this user may not delete stay."""
    for entry in undo_log.list_orphans(database):
        replaced = entry.change.replaced
        if replaced is None or not all(map(is_file_name, replaced[:2])):
            continue
        directory = Path(replaced[2])
        # Another machine may have the file in a directory of the same name.
        if os.path.exists(directory / f"{replaced[0]}{_OLD}"):
            with suppress(OSError):
                discard(database, entry, directory)


def discard(database: MythDatabase, entry: UndoEntry, directory: Path) -> None:
    """Delete the old file, which makes the replacement final. It can be repeated after an
    interruption. Raises BadRequest on a machine that does not have the files."""
    assert entry.change.replaced is not None
    old, new, _ = entry.change.replaced
    _check_names(old, new)
    kept = directory / f"{old}{_OLD}"
    # Where the new file is, the old one was, too: somebody has deleted it.
    if not kept.exists() and not (directory / new).exists():
        raise BadRequest(
            f"the old file {kept} is not on this machine; repeat this where the recording is"
        )
    kept.unlink(missing_ok=True)
    undo_log.remove_entry(database, entry.id)


def _finish(
    database: MythDatabase, directory: Path, journal: ReplacementJournal, change: RecordedChange
) -> None:
    """Carry out what follows the complete copy. Each step can be repeated."""
    old, new = directory / journal.old, directory / journal.new
    part, kept = directory / f"{journal.new}{_PART}", directory / f"{journal.old}{_OLD}"
    row = recordings.read_row(database, "recorded", journal.recordedid)
    if row is None or row["basename"] not in (journal.old, journal.new):
        # Deleted or replaced by somebody else meanwhile: only what is ours is removed.
        part.unlink(missing_ok=True)
        undo_log.remove_entry(database, journal.entry)
        _journal_path(directory, journal).unlink(missing_ok=True)
        return
    if old == new and part.exists() and not kept.exists():
        _keep_aside(old, kept)
    if part.exists():
        os.rename(part, new)
        sync_directory(directory)
    undo_log.apply_part(database, change, change.after)
    _rename_previews(directory, old.name, new.name)
    if old != new and old.exists():
        os.rename(old, kept)
    sync_directory(directory)
    if journal.is_keeping:
        undo_log.set_state(database, journal.entry, undo_log.DONE)
    else:
        kept.unlink(missing_ok=True)
        undo_log.remove_entry(database, journal.entry)
    _journal_path(directory, journal).unlink(missing_ok=True)
    sync_directory(directory)


def _keep_aside(old: Path, kept: Path) -> None:
    """Keep the old file under another name, while its own name stays in use."""
    try:
        os.link(old, kept)
    except OSError:
        # A file system without hard links: a copy, complete before it gets its name.
        half = kept.with_name(f"{kept.name}.half")
        place_copy(old, half, old)
        os.rename(half, kept)


def _plan_change(
    database: MythDatabase,
    state: RecordedState,
    directory: Path,
    new: str,
    info: MediaInfo | None,
    drops_marks: bool,
) -> RecordedChange:
    recordedid, old = state.recording.recordedid, state.recording.basename
    size = (directory / f"{new}{_PART}").stat().st_size
    columns: dict[str, Any] = {"basename": new, "filesize": size, "transcoded": 1}
    types: tuple[int, ...] = ()
    dropped: tuple[marks.Mark, ...] | None = None
    if drops_marks:
        columns |= {"cutlist": 0, "commflagged": 0}
        dropped = tuple(
            each for each in marks.read_marks(database, state.key) if each.type not in _BOOKMARKS
        )
        types = tuple(sorted({each.type for each in dropped}))
    file_columns = {"basename": new, **describe_file(Path(new).suffix, size, info)}
    row = recordings.read_row(database, "recorded", recordedid) or {}
    file_row = recordings.read_row(database, "recordedfile", recordedid) or {}
    return RecordedChange(
        recordedid=recordedid,
        key=state.key,
        summary=f"{old} replaced by {new}, {size} bytes",
        types=types,
        before=RecordedPart(
            columns={each: row[each] for each in columns},
            file_columns={each: file_row[each] for each in file_columns if each in file_row},
            marks=dropped if types else None,
            seek=tuple(marks.read_seek_table(database, state.key)),
        ),
        after=RecordedPart(columns, file_columns, () if types else None, ()),
        replaced=(old, new, str(directory)),
    )


def _rename_previews(directory: Path, old: str, new: str) -> None:
    """Let MythTV's pictures follow the file: `FILE.png`, `FILE.64.100x75.png`."""
    if old == new:
        return
    for path in directory.iterdir():
        if path.name.startswith(f"{old}.") and path.name.endswith(".png"):
            # MythTV may delete a picture at any time, and makes it again.
            with suppress(FileNotFoundError):
                os.rename(path, directory / (new + path.name[len(old) :]))


def _read_again(database: MythDatabase, recordedid: int) -> RecordedState:
    found = recordings.read_recording(database, recordedid)
    if found is None:
        raise BadRequest(f"recording {recordedid} was deleted meanwhile")
    return found


def _check_names(*names: str) -> None:
    """Raise BadRequest unless these names, which come from MythTV's database, are plain ones."""
    for each in names:
        if not is_file_name(each):
            raise BadRequest(f'"{each}" is no plain file name; mythjobs changes no such recording')


def _remove_temporary(directory: Path, journal: str) -> None:
    """Remove what a killed write of the journal left."""
    for path in directory.iterdir():
        if path.name.startswith(f"{journal}."):
            path.unlink()


def _journal_path(directory: Path, journal: ReplacementJournal) -> Path:
    return directory / f"{journal.old}{_JOURNAL}"


def _write_journal(directory: Path, journal: ReplacementJournal) -> None:
    try:
        replace_file(_journal_path(directory, journal), json.dumps(asdict(journal)).encode())
    except OSError as error:
        raise BadRequest(
            f"cannot write in {directory}: {error.strerror}; run the command as a user that may "
            "change MythTV's files"
        ) from None


def _read_journal(path: Path) -> ReplacementJournal:
    """Raises ConfigError, FileNotFoundError."""
    try:
        journal = ReplacementJournal(**json.loads(path.read_bytes()))
        # Whoever may write in the directory can write a journal there.
        if not is_file_name(journal.old) or not is_file_name(journal.new):
            raise ValueError(f"{journal.old!r} or {journal.new!r} is no plain file name")
        return journal
    except FileNotFoundError:
        raise
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"the journal {path} cannot be read: {error}") from None
