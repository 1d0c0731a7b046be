"""Crontabs of a machine: paths, reading, writing, and anacron's record of the last runs."""

from __future__ import annotations

import datetime as dt
import os
import pwd
import re
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

from mythjobs.errors import BadRequest
from mythjobs.takeover.cron.anacron_plan import Anacron
from mythjobs.takeover.cron.anacrontab import AnacronLine, parse_anacrontab
from mythjobs.takeover.cron.cron_plan import Crontab
from mythjobs.takeover.cron.run_parts import DirectoryFile
from mythjobs.takeover.entry import Place
from mythjobs.takeover.machine_root import MachineRoot, decode
from mythjobs.takeover.systemd.calendar_event import parse_calendar_event
from mythjobs.takeover.systemd.unit_file import parse_unit

_SPOOLS: Final = ("/var/spool/cron/crontabs", "/var/spool/cron/tabs", "/var/spool/cron")
_CRON_D_NAME: Final = re.compile(r"[A-Za-z0-9_-]+")
_ANACRONTAB: Final = "/etc/anacrontab"
_ANACRON_TIMERS: Final = (
    "/etc/systemd/system/anacron.timer",
    "/usr/lib/systemd/system/anacron.timer",
    "/lib/systemd/system/anacron.timer",
)
_ANACRON_LINE: Final = re.compile(r"^(\d+)\s+(\d+)[-\s]", re.MULTILINE)
_NO_CRONTAB: Final = "no crontab for"


class CronFiles:
    """The crontabs of a machine."""

    def __init__(self, root: MachineRoot) -> None:
        self._root = root

    def is_cronie(self) -> bool:
        has_crond = self._root.exists("/usr/sbin/crond") or self._root.exists("/usr/bin/crond")
        return has_crond and not self._root.exists("/usr/sbin/cron")

    def read_crontabs(self) -> Iterator[Crontab]:
        """Yield /etc/crontab, the files of /etc/cron.d, and the users' crontabs.

        Without root's rights, of the users' crontabs only the caller's own.
        """
        yield from self._read_file("/etc/crontab")
        for name in self._root.list_names("/etc/cron.d"):
            path = f"/etc/cron.d/{name}"
            if name.startswith(".") or not self._root.path(path).is_file():
                continue
            yield from self._read_file(path)
        for user in self._find_users():
            path = f"crontab of {user}"
            try:
                data = self.read(Place("crontab", user))
            except BadRequest as error:
                yield Crontab("crontab", user, path, "", user, unreadable=error.sentence)
                continue
            if data:
                yield Crontab("crontab", user, path, decode(data), user)

    def _read_file(self, path: str) -> Iterator[Crontab]:
        try:
            data = self._root.read(path)
        except BadRequest as error:
            yield Crontab("file", path, path, "", unreadable=error.sentence)
            return
        if data is not None:
            problem = self._find_problem(path, data)
            yield Crontab("file", path, path, decode(data), problem=problem)

    def _find_problem(self, path: str, data: bytes) -> str:
        """Return why cron ignores the file, or ""."""
        name = os.path.basename(path)
        is_debian = not self.is_cronie()
        if is_debian and path.startswith("/etc/cron.d/") and not _CRON_D_NAME.fullmatch(name):
            return "its name has other characters than A-Z a-z 0-9 _ -"
        if not data.endswith(b"\n") and data:
            return "its last line does not end with a line break"
        status = self._root.path(path).stat()
        if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            return "others than its owner may write it"
        if self._root.is_live and status.st_uid != 0:
            return "its owner is not root"
        return ""

    def _find_users(self) -> list[str]:
        if not self._root.is_live or os.geteuid() == 0:
            names = self._root.list_names(self._find_spool())
            # Cron ignores the crontabs of users that were removed; crontab(1) fails for them.
            accounts = self._root.read_accounts()
            return [each for each in names if each in accounts]
        if shutil.which("crontab") is None:
            return []
        return [pwd.getpwuid(os.geteuid()).pw_name]

    def _find_spool(self) -> str:
        for path in _SPOOLS:
            if self._root.path(path).is_dir():
                return path
        return _SPOOLS[0]

    def remove_temporary(self, place: Place) -> None:
        """Remove what a killed `write` has left. Raises BadRequest."""
        path = self._find_path(place)
        if path:
            self._root.remove_temporary(path)

    def _find_path(self, place: Place) -> str:
        """Return the path of a file that is read and written directly, not through crontab(1)."""
        if place.kind == "file":
            return place.name
        return "" if self._root.is_live else f"{self._find_spool()}/{place.name}"

    def read(self, place: Place) -> bytes | None:
        """Return the content of a crontab or anacrontab, None if it is gone. Raises BadRequest."""
        path = self._find_path(place)
        if path:
            return self._root.read(path)
        done = _run_crontab(place.name, "-l")
        if done.returncode == 0:
            return done.stdout
        message = decode(done.stderr).strip()
        if _NO_CRONTAB in message:
            return None
        raise BadRequest(f"cannot read the crontab of {place.name}: {message}")

    def write(self, place: Place, data: bytes) -> None:
        """Replace the content of a crontab or anacrontab. Raises BadRequest."""
        path = self._find_path(place)
        if path:
            self._root.replace(path, data)
            return
        with tempfile.NamedTemporaryFile(prefix="mythjobs-crontab-") as file:
            file.write(data)
            file.flush()
            done = _run_crontab(place.name, file.name)
        if done.returncode:
            raise BadRequest(
                f"cannot change the crontab of {place.name}: {decode(done.stderr).strip()}"
            )

    def read_directory(self, path: str) -> list[DirectoryFile]:
        """Return the files of a directory of run-parts."""
        return [
            DirectoryFile(name, os.access(self._root.path(f"{path}/{name}"), os.X_OK))
            for name in self._root.list_names(path)
            if not name.startswith(".") and self._root.path(f"{path}/{name}").is_file()
        ]

    def read_anacron(self) -> Anacron | None:
        data = self._root.read(_ANACRONTAB)
        if data is None or not self._root.exists("/usr/sbin/anacron"):
            return None
        last_runs = {}
        for name in self._root.list_names("/var/spool/anacron"):
            # Only root may read these files, and only root can take anacron's jobs over.
            with suppress(BadRequest, ValueError):
                text = decode(self._root.read(f"/var/spool/anacron/{name}") or b"").strip()
                last_runs[name] = dt.date.fromisoformat(text)
        return Anacron(_ANACRONTAB, decode(data), self._find_anacron_start(), last_runs)

    def record_anacron_run(self, place: Place, day: dt.date) -> None:
        """Record for anacron that a job ran on a day, unless a later run is recorded, so that it
        does not make up for that run. Other places are ignored. Raises BadRequest."""
        if place.name != _ANACRONTAB:
            return
        for line in parse_anacrontab(place.line):
            path = f"/var/spool/anacron/{line.job}" if isinstance(line, AnacronLine) else ""
            text = f"{day:%Y%m%d}\n".encode()
            if path and self._root.exists(path) and (self._root.read(path) or b"") < text:
                self._root.replace(path, text)

    def _find_anacron_start(self) -> tuple[int, int]:
        """Return the hour and minute at which anacron is first started each day."""
        for path in _ANACRON_TIMERS:
            data = self._root.read(path)
            if data is None:
                continue
            event = parse_calendar_event(
                parse_unit("anacron.timer", decode(data)).value("Timer", "OnCalendar", "daily")
            )
            return min(event.hours, default=0), min(event.minutes, default=0)
        found = _ANACRON_LINE.search(decode(self._root.read("/etc/cron.d/anacron") or b""))
        return (int(found[2]), int(found[1])) if found else (0, 0)


def _run_crontab(user: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    # Only root may name a user, also the own one.
    whose = ("-u", user) if os.geteuid() == 0 else ()
    # With CRONTAB_NOHEADER=N, Debian's crontab would print the header that it adds to the file.
    env = {key: value for key, value in os.environ.items() if key != "CRONTAB_NOHEADER"}
    try:
        return subprocess.run(
            ["crontab", *whose, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            env={**env, "LC_ALL": "C"},
        )
    except FileNotFoundError:
        raise BadRequest(
            "the program crontab is not installed, so users' crontabs cannot be read or changed"
        ) from None
