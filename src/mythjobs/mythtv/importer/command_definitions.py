"""Definitions of the commands that run MythTV's jobs. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from mythjobs.errors import DefinitionError
from mythjobs.model.definition import command_from_table
from mythjobs.mythtv.importer.installation import MythInstallation
from mythjobs.mythtv.importer.shell_text import NotConvertibleError
from mythjobs.mythtv.importer.user_command import ConvertedCommand, convert_command
from mythjobs.mythtv.parameters import FORGOTTEN_TOKENS, SUBJECT, TOKENS, describe_parameters

Table = dict[str, Any]

USERJOBS: Final = ("userjob1", "userjob2", "userjob3", "userjob4")
# mythcommflag's exit code is the number of breaks; 127 is also a program that is missing.
_BREAK_COUNTS: Final = list(range(127))
# MythTV's programs report errors with 128 and more.
_SUCCESS_BELOW_128: Final = _BREAK_COUNTS
_KEY: Final = ("chanid", "starttime_utc")
_LOOK_UP: Final = "mythmetadatalookup"

_COMMFLAG: Final = """\
set -- --chanid "$MYTHJOBS_P_CHANID" --starttime "$MYTHJOBS_P_STARTTIME_UTC"
[ "$MYTHJOBS_P_REBUILD" = no ] || set -- "$@" --rebuild
exec mythcommflag "$@"
"""
# mythtranscode writes a file, whose type depends on the profile; `replace` puts it in the place of
# the recording's. Without -j mythtranscode needs no row of MythTV's job queue.
_TRANSCODE: Final = """\
set -eu
set -- --chanid "$MYTHJOBS_P_CHANID" --starttime "$MYTHJOBS_P_STARTTIME_UTC"
set -- "$@" --profile {profile} --outfile "$MYTHJOBS_DIR/transcoded"
if [ "$MYTHJOBS_P_USE_CUTLIST" = yes ] && [ -n "$MYTHJOBS_P_CUTLIST_FRAMES" ]; then
    mythtranscode "$@" --honorcutlist
    cut=--drop-marks
else
    mythtranscode "$@"
    cut=
fi
set -- "$MYTHJOBS_P_RECORDEDID" "$MYTHJOBS_DIR/transcoded" --path "$MYTHJOBS_P_PATH"
exec mythjobs mythtv replace "$@" --delete-old --rebuild $cut
"""


class ImportNote(NamedTuple):
    """Something that the import could not translate, or translates differently. item: the job,
    setting or host. lost: nothing of it is imported."""

    item: str
    sentence: str
    lost: bool = False


class JobDefinition(NamedTuple):
    """A definition, and the key of MythTV's job in the bridge's table [commands]; "" for none."""

    job: str
    table: Table


def define_commands(found: MythInstallation, notes: list[ImportNote]) -> list[JobDefinition]:
    """Return the definitions, in a fixed order; append to `notes`."""
    definitions = [
        each
        for each in (
            _define_metadata(),
            _define_commflag(found, notes),
            *_define_transcodes(found, notes),
            *(_define_userjob(found, each, notes) for each in USERJOBS),
            *_define_housekeeping(found, notes),
        )
        if each is not None
    ]
    return [each for each in definitions if _is_valid(each, notes)]


def name_profile(name: str) -> str:
    """Return the part of a command's name for a transcode profile: `high-quality`."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "profile"


def _is_valid(definition: JobDefinition, notes: list[ImportNote]) -> bool:
    try:
        command_from_table(definition.table)
    except DefinitionError as error:
        notes.append(ImportNote(definition.table["name"], error.sentence, lost=True))
        return False
    return True


def _recording_command(name: str, summary: str, used: tuple[str, ...], **keys: Any) -> Table:
    names = dict.fromkeys((*_KEY, *used))
    return {
        "name": name,
        "summary": summary,
        **keys,
        "subject": SUBJECT,
        "parameters": describe_parameters(names),
    }


def _define_metadata() -> JobDefinition:
    argv = [_LOOK_UP, "--chanid", "{chanid}", "--starttime", "{starttime_utc}"]
    table = _recording_command(
        "mythtv-metadata", "Look up metadata of a recording", (), argv=argv,
        success=_SUCCESS_BELOW_128,
    )  # fmt: skip
    return JobDefinition("metadata", table)


def _define_commflag(found: MythInstallation, notes: list[ImportNote]) -> JobDefinition | None:
    own = found.text("JobQueueCommFlagCommand")
    if own in ("", "mythcommflag"):
        table = _recording_command(
            "mythtv-commflag", "Find the commercials of a recording", (), shell=_COMMFLAG,
            success=_BREAK_COUNTS, progress="mythcommflag",
        )  # fmt: skip
        table["parameters"].append(
            {
                "name": "rebuild", "type": "enum", "values": ["no", "yes"], "default": "no",
                "help": "rebuild the seek table instead",
            }
        )  # fmt: skip
        return JobDefinition("commflag", table)
    converted = _define_own(
        "JobQueueCommFlagCommand", own, "mythtv-commflag", "Find commercials by an own command",
        notes,
    )  # fmt: skip
    if converted is None:
        return None
    return JobDefinition("commflag", converted | {"success": _BREAK_COUNTS})


def _define_transcodes(
    found: MythInstallation, notes: list[ImportNote]
) -> Iterator[JobDefinition | None]:
    own = found.text("JobQueueTranscodeCommand")
    if own not in ("", "mythtranscode"):
        table = _define_own(
            "JobQueueTranscodeCommand",
            own,
            "mythtv-transcode",
            "Transcode by an own command",
            notes,
        )
        if table is not None:
            notes.append(
                ImportNote(
                    "JobQueueTranscodeCommand",
                    "MythTV took the status that the command wrote into jobqueue for its success; "
                    "mythjobs takes the exit code",
                )
            )
            yield JobDefinition("transcode", table)
        return
    yield JobDefinition("transcode", _transcode_table("", "autodetect", "the detected profile"))
    taken = set[str]()
    for profile in found.profiles:
        if not profile.is_selectable:
            continue
        name = name_profile(profile.name)
        if name in taken:
            name = f"{name}-{profile.id}"
        taken.add(name)
        yield JobDefinition(
            f"transcode-{profile.id}",
            _transcode_table(f"-{name}", str(profile.id), f'profile "{profile.name}"'),
        )
        if not profile.is_saved:
            notes.append(
                ImportNote(
                    f"profile {profile.name}",
                    "mythtranscode fails with it until it has been saved once in MythTV's set-up",
                )
            )


def _transcode_table(suffix: str, profile: str, summary: str) -> Table:
    table = _recording_command(
        f"mythtv-transcode{suffix}",
        f"Transcode a recording with {summary}",
        ("recordedid", "path", "cutlist_frames"),
        shell=_TRANSCODE.format(profile=profile),
        progress="mythtranscode",
        scratch=True,
    )
    table["parameters"].append(
        {
            "name": "use_cutlist", "type": "enum", "values": ["no", "yes"], "default": "no",
            "help": "leave out the ranges of the cut list",
        }
    )  # fmt: skip
    return table


def _define_userjob(
    found: MythInstallation, job: str, notes: list[ImportNote]
) -> JobDefinition | None:
    number = job[-1]
    text = found.text(f"UserJob{number}")
    if not text:
        return None
    summary = found.text(f"UserJobDesc{number}") or f"User Job #{number}"
    table = _define_own(f"UserJob{number}", text, f"mythtv-{job}", summary, notes)
    return None if table is None else JobDefinition(job, table)


def _define_own(
    item: str, text: str, name: str, summary: str, notes: list[ImportNote]
) -> Table | None:
    """Return the definition of a user's command about a recording; None if it is refused."""
    try:
        converted = convert_command(text)
    except NotConvertibleError as error:
        notes.append(
            ImportNote(
                item,
                f"not imported: {error}. Define the command {name} by hand; its shell text reads "
                'values as "$MYTHJOBS_P_TITLE"',
                lost=True,
            )
        )
        return None
    notes.extend(ImportNote(item, each) for each in converted.notes)
    notes.extend(_note_differences(item, converted))
    keys: Table = {"argv": list(converted.argv)} if converted.argv else {"shell": converted.shell}
    return _recording_command(name, " ".join(summary.split()), converted.parameters, **keys)


def _note_differences(item: str, converted: ConvertedCommand) -> Iterator[ImportNote]:
    used = set(converted.parameters)
    bare = [
        each[1:-1] for each in converted.argv if each[:1] == "{" and each[1:-1] in TOKENS.values()
    ]
    texts = [each for each in bare if each in ("title", "subtitle", "description", "category")]
    if texts and "--" not in converted.argv:
        yield ImportNote(
            item,
            f"a job is refused if {' or '.join(texts)} begins with a dash, because the program "
            "would read an option; set dash = true for the parameter if it would not",
        )
    if "jobid" in used:
        yield ImportNote(
            item,
            "%JOBID% is 0 for jobs that are not in MythTV's table jobqueue; a program that writes "
            "its progress there can print it, or call `mythjobs report`",
        )
    forgotten = [each for each in FORGOTTEN_TOKENS if TOKENS[each] in used]
    if forgotten:
        yield ImportNote(
            item, f"{', '.join(forgotten)} get a value now; MythTV left these tokens as they are"
        )
    if {"verbosemode", "verboselevel"} & used:
        yield ImportNote(item, "the log options are MythTV's defaults, not those of the backend")
    program = converted.argv[0] if converted.argv else ""
    if "/" in program and not program.startswith("/"):
        yield ImportNote(item, f"{program} is relative; jobs run in / unless the command sets cwd")


def _define_housekeeping(
    found: MythInstallation, notes: list[ImportNote]
) -> Iterator[JobDefinition | None]:
    program = found.text("MythFillDatabasePath") or "mythfilldatabase"
    text = f"{program} {found.text('MythFillDatabaseArgs')}".strip()
    try:
        converted = convert_command(text)
    except NotConvertibleError as error:
        notes.append(ImportNote("MythFillDatabasePath", f"not imported: {error}", lost=True))
    else:
        keys: Table = (
            {"argv": list(converted.argv)} if converted.argv else {"shell": converted.shell}
        )
        yield JobDefinition(
            "",
            {"name": "mythtv-mythfilldatabase", "summary": "Update MythTV's guide", **keys},
        )
    yield JobDefinition(
        "",
        {
            "name": "mythtv-artwork",
            "summary": "Refresh the artwork of all recordings",
            "argv": [_LOOK_UP, "--refresh-all-artwork"],
            "success": _SUCCESS_BELOW_128,
        },
    )
