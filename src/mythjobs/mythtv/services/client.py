"""Client of MythTV's Services API, version 2, and version 1 where both are alike."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Mapping
from html import unescape
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode

from mythjobs.errors import BadRequest, NotAllowed, ProtocolError, Unreachable
from mythjobs.mythtv.recording import Recording, format_time, name_program, parse_recording

if TYPE_CHECKING:
    import httpx

TIMEOUT_S: Final = 15.0
# The host name that stands for the settings of all hosts.
GLOBAL: Final = "_GLOBAL_"
_PAGE: Final = 100
_TITLE: Final = re.compile(r"<TITLE>(.*?)</TITLE>", re.IGNORECASE | re.DOTALL)

Json = dict[str, Any]


class Services:
    """One backend's Services API, for any number of threads.

    All methods raise Unreachable if the backend does not answer, NotAllowed if it wants another
    login, BadRequest if it refuses the request, ProtocolError if it does not answer like a backend.
    """

    def __init__(self, host: str, port: int, *, user: str = "", password: str = "") -> None:
        import httpx

        self._label = f"{host}:{port}"
        self._user, self._password = user, password
        self._token = ""
        self._login_lock = threading.Lock()
        name = f"[{host}]" if ":" in host else host
        self._http = httpx.Client(
            base_url=f"http://{name}:{port}",
            # Without Accept the answer is XML. Files must not be compressed.
            headers={
                "Accept": "application/json",
                "Accept-Encoding": "identity",
                "Connection": "close",
            },
            timeout=TIMEOUT_S,
            # The backend may close a kept connection at the instant of the next request.
            limits=httpx.Limits(max_keepalive_connections=0),
            follow_redirects=True,
            # A proxy of the environment is for the internet, not for the local network.
            trust_env=False,
            # There is no TLS, and loading the certificates takes 0.2 s.
            verify=False,
        )

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Services:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def get(self, method: str, **parameters: object) -> Json:
        return self._read_json(self.send("GET", method, parameters), method)

    def post(self, method: str, **parameters: object) -> Json:
        """Call a method that changes something; MythTV refuses GET for them."""
        return self._read_json(self.send("POST", method, parameters), method)

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
        start = 0
        while True:
            found = self.get(
                "Dvr/GetRecordedList", StartIndex=start, Count=_PAGE, Descending="true"
            )
            page = _table(found, "ProgramList").get("Programs")
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
            if len(page) < _PAGE:
                return
            start += _PAGE

    # Settings and hosts.

    def host_name(self) -> str:
        """Return the name that the backend gives itself."""
        return str(self.get("Myth/GetHostName").get("String") or "")

    def host_names(self) -> list[str]:
        found = self.get("Myth/GetHosts").get("StringList")
        return [str(each) for each in found] if isinstance(found, list) else []

    def settings(self, host: str | None) -> Mapping[str, str]:
        """Return all settings of a host, None for the global ones."""
        # GetSetting answers "" for a missing setting too. `HostName=_GLOBAL_` gives an empty list.
        parameters = {} if host is None else {"HostName": host}
        found = _table(self.get("Myth/GetSettingList", **parameters), "SettingList")
        return {str(k): str(v) for k, v in _table(found, "Settings").items()}

    def is_flagging_while_recording(self) -> bool:
        """Return whether MythTV starts flagging and look-ups of metadata during a recording."""
        names = {key.lower(): value for key, value in self.settings(None).items()}
        return names.get("autocommflagwhilerecording", "") not in ("", "0")

    def put_setting(self, name: str, value: str, host: str | None) -> None:
        """Write a setting of a host, None for a global one. All backends then read it again."""
        self._change_setting("Myth/PutSetting", HostName=host or GLOBAL, Key=name, Value=value)

    def delete_setting(self, name: str, host: str | None) -> None:
        self._change_setting("Myth/DeleteSetting", HostName=host or GLOBAL, Key=name)

    def storage_directories(self, group: str, host: str) -> list[str]:
        """Return the directories of a storage group on a host."""
        found = self.get("Myth/GetStorageGroupDirs", GroupName=group, HostName=host)
        listed = _table(found, "StorageGroupDirList").get("StorageGroupDirs")
        return [str(each.get("DirName")) for each in listed or [] if isinstance(each, dict)]

    def version(self) -> str:
        """Return MythTV's version, such as `v35.0`."""
        info = _table(self.get("Myth/GetBackendInfo"), "BackendInfo")
        return str(_table(info, "Build").get("Version") or "")

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
        found = str(self.get("Content/GetHash", StorageGroup=group, FileName=file).get("Hash"))
        return "" if found in ("NULL", "None") else found

    def open_stream(
        self, method: str, parameters: Mapping[str, object], offset: int
    ) -> httpx.Response:
        """Return the open response of a file from `offset` on; the caller closes it."""
        return self.send(
            "GET", method, parameters, headers={"Range": f"bytes={offset}-"}, stream=True
        )

    def _change_setting(self, method: str, **parameters: str) -> None:
        # The backend answers "false" with status 200 if its database does not accept the change.
        if self.post(method, **parameters).get("bool") not in (True, "true"):
            raise BadRequest(
                f"the MythTV backend {self._label} did not change {parameters['Key']} of "
                f"{parameters['HostName']}; see its log, its database may be read-only"
            )

    # Transport.

    def send(
        self,
        verb: str,
        method: str,
        parameters: Mapping[str, object],
        *,
        headers: Mapping[str, str] | None = None,
        stream: bool = False,
    ) -> httpx.Response:
        """Send a request, and again after a login if the backend wants one. 416 is no error."""
        response = self._send_once(verb, method, parameters, headers, stream)
        if response.status_code == 401:
            response.close()
            # A token from before a restart of the backend is invalid, and refused even if no
            # login is required.
            self._log_in(method)
            response = self._send_once(verb, method, parameters, headers, stream)
        if response.status_code >= 400 and response.status_code != 416:
            self._raise_refusal(response, method)
        return response

    def _send_once(
        self,
        verb: str,
        method: str,
        parameters: Mapping[str, object],
        headers: Mapping[str, str] | None,
        stream: bool,
    ) -> httpx.Response:
        import httpx

        values = {key: str(value) for key, value in parameters.items()}
        # Colons of times stay as they are; the backend's own programs send them so.
        query = urlencode(values, quote_via=quote, safe=":") if verb == "GET" and values else ""
        request = self._http.build_request(
            verb,
            f"/{method}?{query}" if query else f"/{method}",
            data=values if verb == "POST" else None,
            headers={**(headers or {}), **({"Authorization": self._token} if self._token else {})},
        )
        try:
            return self._http.send(request, stream=stream)
        except (httpx.TransportError, httpx.TooManyRedirects) as error:
            raise self.unreachable(error) from None

    def unreachable(self, error: Exception) -> Unreachable:
        return Unreachable(
            f"the Services API of the MythTV backend {self._label} does not answer "
            f"({error or type(error).__name__})"
        )

    def _log_in(self, method: str) -> None:
        had, self._token = self._token, ""
        if not self._user:
            if had:
                return
            raise NotAllowed(
                f"the MythTV backend {self._label} requires a login for {method}; run "
                "`mythjobs mythtv setup --user NAME`"
            )
        with self._login_lock:
            response = self._send_once(
                "POST",
                "Myth/LoginUser",
                {"UserName": self._user, "Password": self._password},
                None,
                False,
            )
        try:
            token = response.json().get("String") if response.status_code == 200 else ""
        except (ValueError, AttributeError):
            token = ""
        if not token:
            raise NotAllowed(
                f'the MythTV backend {self._label} refuses the login of the user "{self._user}"; '
                "correct it with `mythjobs mythtv setup --user NAME`"
            )
        self._token = str(token)

    def _raise_refusal(self, response: httpx.Response, method: str) -> None:
        body = response.read().decode("utf-8", "replace")
        response.close()
        found = _TITLE.search(body)
        why = unescape(found[1]) if found else f"HTTP status {response.status_code}"
        if response.status_code in (401, 403):
            raise NotAllowed(f"the MythTV backend {self._label} refuses {method}: {why}")
        if response.status_code >= 500:
            raise Unreachable(f"the MythTV backend {self._label} failed at {method}: {why}")
        raise BadRequest(f"the MythTV backend {self._label} refuses {method}: {why}")

    def _read_json(self, response: httpx.Response, method: str) -> Json:
        try:
            found = response.json()
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise self._malformed(method)
        return found

    def _malformed(self, method: str) -> ProtocolError:
        return ProtocolError(
            f"{self._label} does not answer {method} like a MythTV backend; is it the port of its "
            "status page?"
        )


def _parse_program(found: Json) -> Recording | None:
    return parse_recording(_table(found, "Program"))


def _table(given: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = given.get(key)
    return value if isinstance(value, dict) else {}
