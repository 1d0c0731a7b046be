"""Fake Services API: recorded answers, and answers of the same form for what a test changes."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.support.mythtv.digest_login import DigestLogin
from tests.support.mythtv.transcripts import RECORDINGS

Json = dict[str, Any]
TOKEN = "token-of-the-fake"
_BLOCK = 2**18
_API_NAMES = {1: "Transcode", 2: "Commflag", 4: "Metadata", 256: "UserJob1", 1024: "UserJob3"}
_JSON = 'application/json; charset="UTF-8"'
# A newer backend than the recorded one has it.
_DOCUMENTED = {("POST", "/Myth/LoginUser", "Password", "UserName")}
_HTML = 'text/html; charset="UTF-8"'


@dataclass(frozen=True)
class RecordedExchange:
    name: str
    verb: str
    target: str
    body: str
    status: int
    content_type: str
    headers: dict[str, str]
    request_headers: dict[str, str]
    reply_head: str
    reply: bytes


def recorded_exchanges(directory: str = "api") -> list[RecordedExchange]:
    """Return the exchanges whose answers do not depend on earlier ones; in `replay` are others."""
    return [_read_exchange(each) for each in sorted((RECORDINGS / directory).glob("*.meta"))]


def _read_exchange(path: Path) -> RecordedExchange:
    request, _, reply = path.read_text(encoding="utf-8").partition("<<< reply\n")
    head, _, body = request.partition(">>> request\n")[2].partition("\n\n")
    verb, target, _ = head.split("\n")[0].split(" ", 2)
    status, *lines = reply.partition("\n\n")[0].split("\n")
    headers = dict(line.split(": ", 1) for line in lines if ": " in line)
    bodies = [each for each in path.parent.glob(f"{path.stem}.*") if _is_body(each, path)]
    return RecordedExchange(
        path.stem,
        verb,
        target,
        body.strip(),
        int(status.split()[1]),
        headers.get("Content-Type", ""),
        headers,
        dict(line.split(": ", 1) for line in head.split("\n")[1:] if ": " in line),
        reply.partition("\n\n")[0].replace("\n", "\r\n"),
        bodies[0].read_bytes() if bodies else b"",
    )


def _identify(verb: str, target: str, body: str) -> tuple[object, ...]:
    """Return what makes two requests equal, however their parameters are encoded."""
    url = urlsplit(target)
    return verb, url.path, tuple(parse_qsl(url.query)), tuple(parse_qsl(body))


def _name_form(verb: str, target: str, body: str) -> tuple[str, ...]:
    """Return the method and the names of its parameters."""
    url = urlsplit(target)
    given = parse_qsl(url.query if verb == "GET" else body, keep_blank_values=True)
    return verb, url.path, *sorted(name for name, _ in given)


def _is_body(path: Path, meta: Path) -> bool:
    rest = path.name.removeprefix(meta.stem)
    return rest in (".json", ".html", ".ts.part")


def _format_page(text: str) -> bytes:
    """Return a page with which the backend answers an error."""
    return (
        f'<!DOCTYPE html><HTML><HEAD><TITLE>{text}</TITLE><META HTTP-EQUIV="Content-Type" '
        f'CONTENT="text/html; charset=ISO-8859-1"></HEAD><BODY><H1>{text}</H1></BODY></HTML>'
    ).encode()


@dataclass
class FakeFile:
    """A recording's file. read: returns at least one of the asked bytes from an offset on. breaks:
    offsets at which the connection breaks, each once."""

    size: int
    read: Callable[[int, int], bytes]
    breaks: list[int]
    modified: str = "Tue, 24 Nov 2026 06:53:03 GMT"
    honours_ranges: bool = True


class FakeServices:
    """`programs` are the recordings that a test added or changed, by their id; `login` is
    (user, password) if a login is required; `requests` are those received."""

    def __init__(self) -> None:
        exchanges = recorded_exchanges()
        self.recorded = {_identify(each.verb, each.target, each.body): each for each in exchanges}
        by_name = {each.name: each for each in exchanges}
        self.unknown_program = by_name["dvr-getrecorded.unknown.as-json"].reply
        listed = json.loads(by_name["dvr-getrecordedlist.as-json"].reply)
        self.list_head = {k: v for k, v in listed["ProgramList"].items() if k != "Programs"}
        self.listed: dict[int, Json] = {
            each["Recording"]["RecordedId"]: each for each in listed["ProgramList"]["Programs"]
        }
        self.programs: dict[int, Json] = {}
        self.settings: dict[str, dict[str, str]] = {}
        for host, name in (("mythbox", "as-json"), ("", "global.as-json")):
            found = json.loads(by_name[f"myth-getsettinglist.{name}"].reply)
            self.settings[host] = found["SettingList"]["Settings"]
        [status] = [e for e in recorded_exchanges("replay") if "getbackendstatus" in e.name][:1]
        self.row_template = json.loads(status.reply)["BackendStatus"]["JobQueue"][0]
        self.files: dict[int, FakeFile] = {}
        self.hashes: dict[str, str] = {}
        self.login: tuple[str, str] | None = None
        self.digest: DigestLogin | None = None
        self.has_login_method = True
        self.rows: list[Json] = []
        self.hosts: list[str] = []
        # By method, in place of the recorded ones; None: the method is unknown.
        self.answers: dict[str, Json | None] = {}
        self.refused: set[int] = set()  # rows that cannot be removed, as if they had started
        self.requests: list[str] = []
        # Requests of which no recording has method and parameters: the bridge must make none.
        self.unrecorded: list[str] = []
        self._forms = {
            _name_form(each.verb, each.target, each.body)
            for each in [*exchanges, *recorded_exchanges("replay")]
        } | _DOCUMENTED
        self.is_failing = False
        self.is_read_only = False  # its database accepts no change
        self.read_only_hosts: set[str] = set()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._make_handler())
        self._server.daemon_threads = False
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(60)
        assert not self.unrecorded

    def add_recording(self, recordedid: int, key: tuple[int, str], **changes: Any) -> Json:
        """Add a recording like number 1, with (chanid, start) as its key."""
        program: Json = json.loads(json.dumps(self.listed[1]))
        program["Recording"] |= {"RecordedId": recordedid, "StartTs": key[1]} | changes
        program["Channel"]["ChanId"] = key[0]
        self.programs[recordedid] = program
        return program

    def add_row(
        self, row_id: int, type_number: int, recordedid: int, hostname: str, **changes: Any
    ) -> None:
        """Queue a job as the API lists it."""
        program = (self.listed | self.programs)[recordedid]
        start = program["Recording"]["StartTs"]
        row: Json = json.loads(json.dumps(self.row_template))
        row |= {
            "Id": row_id, "ChanId": program["Channel"]["ChanId"], "StartTime": start,
            "SchedRunTime": start, "StartTs": re.sub(r"\D", "", start), "Type": type_number,
            "Status": 1, "LocalizedStatus": "Queued", "HostName": hostname, "Comment": "",
        } | changes  # fmt: skip
        row["Program"]["Recording"]["RecordedId"] = recordedid
        self.rows.append(row)

    def _make_handler(self) -> type[BaseHTTPRequestHandler]:
        services = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 10

            def do_GET(self) -> None:
                services.handle(self, "GET")

            def do_POST(self) -> None:
                services.handle(self, "POST")

            def log_message(self, format: str, *arguments: Any) -> None:
                pass

        return Handler

    def handle(self, request: BaseHTTPRequestHandler, verb: str) -> None:
        size = int(request.headers.get("Content-Length", 0))
        body = request.rfile.read(size).decode()
        url = urlsplit(request.path)
        given = dict(parse_qsl(url.query if verb == "GET" else body, keep_blank_values=True))
        self.requests.append(f"{verb} {request.path}{' ' * bool(body)}{body}")
        method = url.path.lstrip("/")
        if _name_form(verb, request.path, body) not in self._forms:
            self.unrecorded.append(self.requests[-1])
        request.close_connection = True
        with suppress(BrokenPipeError, ConnectionResetError):
            if self.is_failing:
                self._send(request, 500, _format_page("failing"), _HTML)
            elif not self._is_admitted(request, method):
                self._send_refusal(request)
            elif method == "Content/GetRecording" and int(given["RecordedId"]) in self.files:
                self._send_file(request, self.files[int(given["RecordedId"])])
            else:
                self._answer(request, verb, method, given, body)

    def _is_admitted(self, request: BaseHTTPRequestHandler, method: str) -> bool:
        given = request.headers.get("Authorization", "")
        if self.digest is not None:
            return self.digest.is_valid(given, request.command, request.path)
        if method in ("Myth/LoginUser", "Myth/GetConnectionInfo"):
            return True
        return given == TOKEN if given or self.login else True

    def _send_refusal(self, request: BaseHTTPRequestHandler) -> None:
        headers = {} if self.digest is None else {"WWW-Authenticate": self.digest.challenge}
        # The page of the token's check begins with a blank.
        self._send(request, 401, _format_page(" Invalid authorization token"), _HTML, headers)

    def _answer(
        self, request: BaseHTTPRequestHandler, verb: str, method: str, given: Json, body: str
    ) -> None:
        found: Json | None = None
        exchange = self.recorded.get(_identify(verb, request.path, body))
        if verb == "GET" and method in self.answers:
            found, exchange = self.answers[method], None
        elif verb == "GET" and method == "Dvr/GetRecorded":
            found = self._find_program(given, has_recorded_answer=exchange is not None)
        elif verb == "GET" and method == "Dvr/GetRecordedList":
            found = self._list_programs(given)
        elif verb == "GET" and method in ("Myth/GetSetting", "Myth/GetSettingList"):
            found = self._read_settings(method, given)
        elif verb == "POST" and method in ("Myth/PutSetting", "Myth/DeleteSetting"):
            found = self._write_setting(method, given)
        elif verb == "POST" and method == "Myth/LoginUser" and self.has_login_method:
            is_right = self.login == (given.get("UserName"), given.get("Password"))
            found = {"String": TOKEN if is_right else ""}
        elif method == "Myth/GetStorageGroupDirs" and exchange is None:
            found = {"StorageGroupDirList": {"StorageGroupDirs": []}}
        elif method == "Content/GetHash" and given["FileName"] in self.hashes:
            found = {"Hash": self.hashes[given["FileName"]]}
        elif method == "Myth/GetHosts" and self.hosts:
            found = {"StringList": self.hosts}
        elif method == "Myth/GetHostName" and self.hosts:
            found = {"String": self.hosts[0]}
        elif method == "Dvr/ManageJobQueue" and verb == "POST":
            found = {"int": self._remove_row(given)}
        elif method == "Status/GetBackendStatus" and self.rows:
            found = {"BackendStatus": {"JobQueue": self.rows}}
        if found is not None:
            self._send(
                request, 200, json.dumps(found).encode(), 'application/json; charset="UTF-8"'
            )
        elif exchange is not None:
            self._send(request, exchange.status, exchange.reply, exchange.content_type)
        elif method == "Dvr/GetRecorded":
            self._send(request, 200, self.unknown_program, _JSON)
        else:
            self._send(request, 404, _format_page("404 Not Found"), _HTML)

    def _find_program(self, given: Json, *, has_recorded_answer: bool) -> Json | None:
        known = self.programs if has_recorded_answer else self.listed | self.programs
        for program in known.values():
            recording = program["Recording"]
            if given.get("RecordedId") == str(recording["RecordedId"]) or (
                given.get("ChanId") == str(program["Channel"]["ChanId"])
                and given.get("StartTime") == recording["StartTs"]
            ):
                return {"Program": program}
        return None

    def _list_programs(self, given: Json) -> Json:
        programs = list((self.listed | self.programs).values())
        programs.sort(key=lambda each: str(each["Recording"]["StartTs"]))
        if given.get("Descending") == "true":
            programs.reverse()
        start, count = int(given.get("StartIndex", 0)), int(given.get("Count", 0))
        page = programs[start : start + count if count else None]
        head = self.list_head | {
            "StartIndex": start, "Count": len(page), "TotalAvailable": len(programs),
        }  # fmt: skip
        return {"ProgramList": head | {"Programs": page}}

    def _read_settings(self, method: str, given: Json) -> Json:
        host = given.get("HostName", "")
        if method == "Myth/GetSettingList":
            # Global settings are those without a host name; _GLOBAL_ is a host without settings.
            return {"SettingList": {"HostName": host, "Settings": self.settings.get(host, {})}}
        known = self.settings.get("" if host == "_GLOBAL_" else host or "mythbox", {})
        return {"String": known.get(given["Key"], "")}

    def _write_setting(self, method: str, given: Json) -> Json:
        if self.is_read_only or given["HostName"] in self.read_only_hosts:
            return {"bool": False}
        host = "" if given["HostName"] == "_GLOBAL_" else given["HostName"]
        known = self.settings.setdefault(host, {})
        # Like MythTV on MySQL: the row is replaced, whatever the case of its name.
        for key in [each for each in known if each.lower() == given["Key"].lower()]:
            del known[key]
        if method == "Myth/PutSetting":
            known[given["Key"]] = given["Value"]
        return {"bool": True}

    def _remove_row(self, given: Json) -> int:
        """Remove a queued row; only with its id, its recording and the right name of its type."""
        for row in self.rows:
            if (
                given.get("Action") == "Remove"
                and given.get("JobId") == str(row["Id"])
                and given.get("RecordedId") == str(row["Program"]["Recording"]["RecordedId"])
                and given.get("JobName") == _API_NAMES[row["Type"]]
                and row["Status"] == 1
                and row["Id"] not in self.refused
            ):
                self.rows.remove(row)
                return int(row["Id"])
        return -1

    def _send(
        self,
        request: BaseHTTPRequestHandler,
        status: int,
        body: bytes,
        content_type: str,
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name, value)
        request.send_header("Content-Type", content_type)
        request.send_header("Content-Length", str(len(body)))
        request.send_header("Connection", "Close")
        request.end_headers()
        request.wfile.write(body)

    def _send_file(self, request: BaseHTTPRequestHandler, file: FakeFile) -> None:
        given = request.headers.get("Range", "").removeprefix("bytes=")
        first, _, last = given.partition("-")
        start = int(first or 0) if file.honours_ranges else 0
        end = int(last) + 1 if last else file.size
        if given and file.honours_ranges and start >= file.size:
            request.send_response(416)
            request.send_header("Content-Range", f"bytes */{file.size}")
            end = start
        elif given and file.honours_ranges:
            request.send_response(206)
            request.send_header("Content-Range", f"bytes {start}-{end - 1}/{file.size}")
        else:
            request.send_response(200)
        request.send_header("Content-Type", "video/mp2t")
        request.send_header("Content-Length", str(end - start))
        request.send_header("Last-Modified", file.modified)
        request.end_headers()
        while start < end:
            cut = next((each for each in file.breaks if start <= each < end), end)
            count = min(_BLOCK, end - start, cut - start)
            data = file.read(start, count)
            request.wfile.write(data)
            start += len(data)
            if start == cut and cut < end:
                file.breaks.remove(cut)
                return
