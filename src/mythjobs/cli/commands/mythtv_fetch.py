"""`mythjobs mythtv fetch`: a copy of a recording, for machines without its disk."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from mythjobs.cli import terminal
from mythjobs.cli.options import DURATION, TEXT, IntegerType
from mythjobs.cli.session import Session, command, json_option, pass_session
from mythjobs.errors import BadRequest

if TYPE_CHECKING:
    from mythjobs.mythtv.services.client import Services

_PASSWORD: Final = "MYTHJOBS_MYTHTV_PASSWORD"
_EXAMPLES: Final = """Examples:
  mythjobs mythtv fetch 42
  mythjobs mythtv fetch "$MYTHJOBS_P_RECORDEDID" --backend "$MYTHJOBS_P_BACKEND" --output in.ts"""
_DEFAULT_PORT: Final = 6544
_REPORT_S: Final = 2.0


@command("fetch", epilog=_EXAMPLES)
@click.argument("recordedid", type=IntegerType(min=1))
@click.option(
    "--output",
    type=TEXT,
    metavar="FILE",
    help="Where to write it. Default: the recording's file name, in this directory.",
)
@click.option(
    "--backend",
    type=TEXT,
    metavar="HOST[:PORT]",
    help="MythTV's backend and the port of its status page. Default: that of `setup`.",
)
@click.option(
    "--user",
    type=TEXT,
    help=f"User of the backend, if it requires a login; the password is in {_PASSWORD}.",
)
@click.option(
    "--reserve",
    type=TEXT,
    default="1GiB",
    show_default=True,
    help="Space that stays free on the disk.",
)
@click.option(
    "--give-up",
    type=DURATION,
    default="10m",
    help="How long the backend may send nothing. Default: 10m.",
)
@json_option
@pass_session
def fetch(
    session: Session,
    recordedid: int,
    output: str | None,
    backend: str | None,
    user: str | None,
    reserve: str,
    give_up: float,
    as_json: bool,
) -> None:
    """Copy a recording from the backend, and print its SHA-256.

    For commands with scratch = true on machines that have no access to MythTV's disks. The copy
    continues where it was when the connection breaks, is compared with the file on the backend, and
    appears under its name only when it is complete. Exit code 75: the disk would become full.
    """
    from mythjobs.model.units import parse_size
    from mythjobs.mythtv.services.content import FetchOptions, RecordingFetcher, check_copy

    try:
        options = FetchOptions(parse_size(reserve), give_up)
    except ValueError as error:
        raise BadRequest(f"--reserve: {error}") from None
    with _open_services(session, backend, user) as services:
        recording = services.find_recording(recordedid)
        if recording is None:
            raise BadRequest(f"MythTV has no recording {recordedid}")
        path = Path(output or choose_name(recording.basename, recordedid))
        if not path.parent.is_dir():
            raise BadRequest(f"there is no directory {path.parent}")
        report = _Report(recording.size_bytes)
        found = RecordingFetcher(
            services, recordedid, path, options,
            on_progress=report.show, on_interruption=terminal.print_message,
        ).fetch()  # fmt: skip
        check_copy(services, path, recordedid, recording.basename, recording.storage_group)
    if as_json:
        terminal.print_json(
            {"path": str(path), "bytes": found.size_bytes, "sha256": found.sha256,
             "interruptions": found.interruptions}
        )  # fmt: skip
    else:
        terminal.print_line(f"{found.sha256}  {path}")


def choose_name(basename: str, recordedid: int) -> str:
    """Return the name of the copy if none is given: that of MythTV's file, if it is one of a video.

    The backend's answer must not choose a directory, or replace another kind of
    file, such as .profile.
    """
    from mythjobs.mythtv.writeback.media_file import EXTENSIONS

    name = basename.rpartition("/")[2]
    is_video = Path(name).suffix.lower() in EXTENSIONS and name.isprintable()
    return name if is_video and not name.startswith((".", "-")) else f"{recordedid}.ts"


class _Report:
    """Reports the progress to the job of which this is a part, every two seconds."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._last_s = 0.0

    def show(self, done: int, size: int) -> None:
        now_s = time.monotonic()
        size = size if size > 0 else self._size
        if now_s - self._last_s < _REPORT_S or size <= 0:
            return
        self._last_s = now_s
        if path := os.environ.get("MYTHJOBS_STATUS"):
            try:
                fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_CLOEXEC)
            except OSError:
                return  # nobody reads reports any more
            try:
                text = f"progress {100 * done / size:.1f}\ncomment copying the recording\n"
                os.write(fd, text.encode())
            except OSError:
                pass  # the pipe is full: the next report follows soon
            finally:
                os.close(fd)


def _open_services(session: Session, backend: str | None, user: str | None) -> Services:
    from mythjobs.mythtv.services.client import Services, open_services
    from mythjobs.mythtv.settings import bridge_dir, explain_bad_host, require_settings

    if backend is None:
        settings = require_settings(bridge_dir(session.root))
        return open_services(settings)
    host, colon, port = backend.rpartition(":")
    if not colon or backend.endswith("]"):
        host, port = backend, str(_DEFAULT_PORT)
    host = host.strip("[]")
    is_port = port.isascii() and port.isdecimal() and 0 < int(port) < 65536
    if not is_port or explain_bad_host(host):
        raise BadRequest(f'--backend "{backend}" must be like mythbox or mythbox:6544')
    password = os.environ.get(_PASSWORD, "")
    return Services(host, int(port), user=user or "", password=password)
