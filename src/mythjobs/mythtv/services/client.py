"""Client of MythTV's Services API, version 2, and version 1 where both are alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Final

from mythjobs.errors import BadRequest, ProtocolError
from mythjobs.mythtv.json_values import (
    Json,
    clean_text,
    parse_object,
    read_table,
    read_tables,
    read_text,
)
from mythjobs.mythtv.recording import Recording, format_time, name_program, parse_recording
from mythjobs.mythtv.services.transport import REQUEST_TIMEOUT_S, Transport
from mythjobs.mythtv.settings import BridgeSettings

if TYPE_CHECKING:
    import httpx

# The host name that stands for the settings of all hosts.
GLOBAL: Final = "_GLOBAL_"
# A host with one of these settings runs a backend or mythjobqueue.
_JOB_SETTINGS: Final = ("jobqueue", "joballow", "backendserver")
_PAGE: Final = 100
_MOST_RECORDINGS: Final = 10**6


class Services:
    """One backend's Services API, for any number of threads.

    All methods raise Unreachable if the backend does not answer in time, NotAllowed if it wants
    another login, BadRequest if it refuses the request, ProtocolError if it does not answer like a
    backend.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        user: str = "",
        password: str = "",
        timeout_s: float = REQUEST_TIMEOUT_S,
    ) -> None:
        self._transport = Transport(host, port, user=user, password=password, timeout_s=timeout_s)
        self._label = self._transport.label

    def close(self) -> None:
        self._transport.close()

    def __enter__(self) -> Services:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def get(self, method: str, **parameters: object) -> Json:
        return self._request("GET", method, parameters)

    def post(self, method: str, **parameters: object) -> Json:
        """Call a method that changes something; MythTV refuses GET for them."""
        return self._request("POST", method, parameters)

    # Recordings.

    def find_recording(self, recordedid: int) -> Recording | None:
        return _parse_program(self.get("Dvr/GetRecorded", RecordedId=recordedid))

    def find_recording_by_key(self, chanid: int, start_ms: int) -> Recording | None:
        """Return the recording with this key, None if there is none."""
        found = self.get("Dvr/GetRecorded", ChanId=chanid, StartTime=format_time(start_ms))
        return _parse_program(found)

    def list_recordings(self, on_malformed: Callable[[str, str], object]) -> Iterator[Recording]:
        """Yield all recordings, the newest first, page by page.

        on_malformed: called instead for a recording with impossible values, with its name (such as
        `recording 7 "News"`) and what is wrong.
        """
        seen: set[int] = set()
        previous: list[object] = []
        for start in range(0, _MOST_RECORDINGS, _PAGE):
            found = self.get(
                "Dvr/GetRecordedList", StartIndex=start, Count=_PAGE, Descending="true"
            )
            page = read_table(found, "ProgramList").get("Programs")
            if not isinstance(page, list):
                raise self._malformed("Dvr/GetRecordedList")
            for each in page:
                try:
                    recording = parse_recording(each) if isinstance(each, dict) else None
                except ProtocolError as error:
                    on_malformed(name_program(each), error.sentence)
                    continue
                # A new recording shifts the pages, so one may arrive twice.
                if recording is not None and recording.recordedid not in seen:
                    seen.add(recording.recordedid)
                    yield recording
            # A backend that ignores StartIndex sends the same page again.
            if len(page) < _PAGE or page == previous:
                return
            previous = page

    # Settings and hosts.

    def host_name(self) -> str:
        """Return the name that the backend gives itself."""
        return read_text(self.get("Myth/GetHostName"), "String")

    def host_names(self) -> list[str]:
        found = self.get("Myth/GetHosts").get("StringList")
        return [clean_text(str(each)) for each in found] if isinstance(found, list) else []

    def settings(self, host: str | None) -> Mapping[str, str]:
        """Return all settings of a host; the global ones if it is None."""
        # GetSetting answers "" for a missing setting too. `HostName=_GLOBAL_` gives an empty list.
        parameters = {} if host is None else {"HostName": host}
        found = read_table(self.get("Myth/GetSettingList", **parameters), "SettingList")
        settings = read_table(found, "Settings")
        return {clean_text(key): read_text(settings, key) for key in settings}

    def job_hosts(self) -> dict[str, Mapping[str, str]]:
        """Return the settings of each host that runs jobs, by its name; other hosts are frontends.

        The backend that is asked runs jobs also if it has no setting of them.
        """
        own = self.host_name()
        # MythTV's tables ignore the case of host names: two writings are the same settings.
        names = {each.casefold(): each for each in self.host_names() if each}
        if own:
            names[own.casefold()] = own
        found = {}
        for host in sorted(names.values()):
            settings = self.settings(host)
            if host == own or any(each.lower().startswith(_JOB_SETTINGS) for each in settings):
                found[host] = settings
        return found

    def is_flagging_while_recording(self) -> bool:
        """Return whether MythTV starts flagging and look-ups of metadata during a recording."""
        names = {key.lower(): value for key, value in self.settings(None).items()}
        return names.get("autocommflagwhilerecording", "") not in ("", "0")

    def put_setting(self, name: str, value: str, host: str | None) -> None:
        """Write a setting of a host; a global one if it is None. All backends then reload it."""
        self._change_setting("Myth/PutSetting", HostName=host or GLOBAL, Key=name, Value=value)

    def delete_setting(self, name: str, host: str | None) -> None:
        self._change_setting("Myth/DeleteSetting", HostName=host or GLOBAL, Key=name)

    def storage_directories(self, group: str, host: str) -> list[str]:
        """Return the directories of a storage group on a host."""
        found = self.get("Myth/GetStorageGroupDirs", GroupName=group, HostName=host)
        listed = read_tables(read_table(found, "StorageGroupDirList"), "StorageGroupDirs")
        return [read_text(each, "DirName") for each in listed]

    def version(self) -> str:
        """Return MythTV's version, such as `v35.0`."""
        info = read_table(self.get("Myth/GetBackendInfo"), "BackendInfo")
        return read_text(read_table(info, "Build"), "Version")

    def remove_job(self, row_id: int, type_name: str, recordedid: int) -> bool:
        """Remove a queued row of MythTV's queue. Return whether it was one.

        type_name: of RowType. MythTV refuses rows that have started.
        """
        name = type_name.title().replace("Userjob", "UserJob")
        found = self.post(
            "Dvr/ManageJobQueue", Action="Remove", JobName=name, RecordedId=recordedid, JobId=row_id
        )
        return str(found.get("int")) == str(row_id)

    # Files.

    def file_hash(self, file: str, group: str) -> str:
        """Return MythTV's hash of a file (`services/content.py`), "" if there is no such file."""
        found = read_text(self.get("Content/GetHash", StorageGroup=group, FileName=file), "Hash")
        return "" if found == "NULL" else found

    def open_stream(
        self, method: str, parameters: Mapping[str, object], offset: int
    ) -> httpx.Response:
        """Return the open response of a file from `offset` on; the caller closes it."""
        return self._transport.open_stream(method, parameters, {"Range": f"bytes={offset}-"})

    def read_range(
        self, method: str, parameters: Mapping[str, object], offset: int, count: int
    ) -> bytes:
        """Return `count` bytes of a file from `offset` on."""
        headers = {"Range": f"bytes={offset}-{offset + count - 1}"}
        return self._transport.request("GET", method, parameters, headers)

    def _change_setting(self, method: str, **parameters: str) -> None:
        # The backend answers "false" with status 200 if its database does not accept the change.
        if self.post(method, **parameters).get("bool") not in (True, "true"):
            raise BadRequest(
                f"the MythTV backend {self._label} did not change {parameters['Key']} of "
                f"{parameters['HostName']}; see its log, its database may be read-only"
            )

    def _request(self, verb: str, method: str, parameters: Mapping[str, object]) -> Json:
        found = parse_object(self._transport.request(verb, method, parameters))
        if found is None:
            raise self._malformed(method)
        return found

    def _malformed(self, method: str) -> ProtocolError:
        return ProtocolError(
            f"{self._label} does not answer {method} like a MythTV backend; is it the port of its "
            "status page?"
        )


def open_services(settings: BridgeSettings) -> Services:
    """Return the Services API of the backend of the bridge."""
    return Services(
        settings.host, settings.status_port, user=settings.user, password=settings.password
    )


def _parse_program(found: Json) -> Recording | None:
    return parse_recording(read_table(found, "Program"))
