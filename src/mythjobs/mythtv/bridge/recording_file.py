"""Where the file of a recording is on its backend: asked of MythTV, never guessed."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from mythjobs.errors import BadRequest, MythJobsError, ProtocolError
from mythjobs.mythtv.protocol.connection import BackendConnection, open_connection
from mythjobs.mythtv.protocol.frames import SEPARATOR
from mythjobs.mythtv.recording import UNFINISHED, Recording
from mythjobs.mythtv.services.client import Services
from mythjobs.mythtv.settings import BridgeSettings

_NO_FILE: Final = "4294967295"  # time of a file that does not exist: -1 as an unsigned number


class FileMissing(BadRequest):
    """MythTV has no file of the recording: a job for it would fail on every machine."""


class FileAway(MythJobsError):
    """The file cannot be found now, but probably later: its backend is away, or it is not written
    yet."""

    code = "file_away"


def find_directory(settings: BridgeSettings, services: Services, recording: Recording) -> str:
    """Return the directory of the recording's file on its backend.

    MythTV is asked for the file, not for the directories of its storage group: a file may be in
    another directory, or in the group Default. A machine where the directory has another path maps
    it in its settings.

    Raises FileMissing, FileAway, and the errors of the connection.
    """
    # An empty field may end a backend.
    name, group = recording.basename, recording.storage_group or "Default"
    host = recording.hostname or services.host_name()
    recording = replace(recording, storage_group=group, hostname=host)
    if not name or "/" in name or name in (".", ".."):
        raise FileMissing(
            f'"{name}" is no file name of a recording, so recording {recording.recordedid} gets no '
            "path; correct it in MythTV"
        )
    if any(SEPARATOR in each for each in (name, host, group)):
        raise FileMissing(
            f'MythTV\'s protocol cannot name the file "{name}" of recording '
            f"{recording.recordedid}, because of the {SEPARATOR} in it; rename it in MythTV"
        )
    with open_connection(settings.host, settings.port) as connection:
        connection.announce_monitor(settings.name, 0)
        path = _query_group(connection, recording) or _query_any_group(
            connection, services, recording
        )
    if path:
        return path.rpartition("/")[0] or "/"
    if recording.status in UNFINISHED:
        raise FileAway(f"the file {name} of recording {recording.recordedid} is not written yet")
    places = ", ".join(services.storage_directories(group, host)) or "no directory"
    raise FileMissing(
        f"the file {name} of recording {recording.recordedid} is not on {host} (storage group "
        f"{group}: {places}); restore it there, or delete the recording in MythTV"
    )


def _query_group(connection: BackendConnection, recording: Recording) -> str:
    """Return the file's path in its storage group, or in Default; "" if it is in neither."""
    host = recording.hostname
    reply = connection.request(
        "QUERY_SG_FILEQUERY", host, recording.storage_group, recording.basename
    )
    if reply[0].startswith("SLAVE UNREACHABLE"):
        raise FileAway(
            f"the backend {host}, which has the file of recording {recording.recordedid}, is not "
            "connected to MythTV's master backend; start it"
        )
    if reply == ["EMPTY LIST"]:
        return ""
    if len(reply) != 3 or not _is_path(reply[0], recording.basename):
        raise ProtocolError(
            f"the MythTV backend answered {reply!r:.100} to the question for the file "
            f"{recording.basename}"
        )
    return "" if reply[1] == _NO_FILE else reply[0]


def _query_any_group(
    connection: BackendConnection, services: Services, recording: Recording
) -> str:
    """Return the file's path in any storage group, "" if it is in none. Only the backend that is
    asked can be searched so."""
    if recording.hostname.casefold() != services.host_name().casefold():
        return ""
    reply = connection.request("QUERY_FILE_EXISTS", recording.basename, recording.storage_group)
    if len(reply) > 2 and reply[0] == "1" and _is_path(reply[1], recording.basename):
        return reply[1]
    return ""


def _is_path(path: str, basename: str) -> bool:
    return path.startswith("/") and path.endswith(f"/{basename}") and ".." not in path.split("/")
