"""Timers of a machine: their files and drop-ins, whether they are enabled, and switching them."""

from __future__ import annotations

import os
import re
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from mythjobs.errors import BadRequest
from mythjobs.takeover.entry import Account
from mythjobs.takeover.machine_root import MachineRoot, decode
from mythjobs.takeover.systemd.timer_plan import Timer
from mythjobs.takeover.systemd.unit_file import UnitFile, parse_unit

_SYSTEM_DIRECTORIES: Final = (
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
)
_USER_DIRECTORIES: Final = (
    "{home}/.config/systemd/user",
    "/etc/systemd/user",
    "/run/systemd/user",
    "{home}/.local/share/systemd/user",
    "/usr/local/lib/systemd/user",
    "/usr/lib/systemd/user",
    "/lib/systemd/user",
)
_LINK_DIRECTORY: Final = re.compile(r"\.(?:wants|requires|upholds)\Z")
_ESCAPE: Final = re.compile(r"\\x([0-9a-f]{2})")
_NORMALIZED: Final = re.compile(r"^\s*Normalized form: (.+)$", re.MULTILINE)


class UnitLink(NamedTuple):
    """A symbolic link that enables a unit, and its target as stored in the link."""

    path: str
    target: str


class TimerUnits:
    """The timers of the system's manager, or of the user's own (`systemctl --user`)."""

    def __init__(self, root: MachineRoot, account: Account, *, is_user_manager: bool) -> None:
        self._root = root
        self._account = account
        self._is_user_manager = is_user_manager
        directories = _USER_DIRECTORIES if is_user_manager else _SYSTEM_DIRECTORIES
        # /lib is often a link to /usr/lib; its files are listed once.
        self._directories = [
            path
            for path in (each.format(home=account.home) for each in directories)
            if path != "/lib/systemd/system" or not root.path("/lib").is_symlink()
        ]
        self.kind = "user timer" if is_user_manager else "timer"
        # Here the modification time of stamp-NAME is the last run of a timer with Persistent=.
        self.stamp_directory = (
            f"{account.home}/.local/share/systemd/timers"
            if is_user_manager
            else "/var/lib/systemd/timers"
        )
        # Where an administrator's, or the user's own, files are.
        self.own_directory = self._directories[0]

    def read_timers(self) -> Iterator[Timer]:
        """Yield the timers that are enabled, sorted by name."""
        for name in sorted({Path(each.path).name for each in self._find_links(".timer")}):
            yield self._read_timer(name)

    def _read_timer(self, name: str) -> Timer:
        problem, timer, service = "", None, None
        try:
            timer = self._read_unit(name)
        except BadRequest as error:
            problem = error.sentence
        if problem:
            timer = UnitFile(name)
        elif timer is None:
            problem = "its file is missing or masked, so systemd does not run it"
            timer = UnitFile(name)
        elif self._root.is_live and self.is_active(name) is False:
            problem = "systemd has not started it (`systemctl status` says why)"
        service_name = timer.value("Timer", "Unit") or f"{name.removesuffix('.timer')}.service"
        try:
            service = self._read_unit(service_name)
        except BadRequest as error:
            problem = problem or error.sentence
        return Timer(
            self.kind,
            timer,
            service_name,
            service if service_name.endswith(".service") else None,
            self._account.name,
            self._build_specifiers(service_name),
            problem,
            normalise_event,
        )

    def _find_links(self, suffix: str) -> Iterator[UnitLink]:
        """Yield the links that enable units whose names end with `suffix`."""
        for directory in self._directories:
            for wants in self._root.list_names(directory):
                if not _LINK_DIRECTORY.search(wants):
                    continue
                for name in self._root.list_names(f"{directory}/{wants}"):
                    path = f"{directory}/{wants}/{name}"
                    if name.endswith(suffix) and self._root.path(path).is_symlink():
                        yield UnitLink(path, os.readlink(self._root.path(path)))

    def _read_unit(self, name: str) -> UnitFile | None:
        """Return a unit with its drop-ins; None if it is missing or masked."""
        for candidate in _list_names(name):
            text = self._read_fragment(candidate)
            if text is not None:
                return parse_unit(name, text, *self._read_drop_ins(name)) if text else None
        return None

    def _read_fragment(self, name: str) -> str | None:
        """Return the text of a unit file; "" if it is masked; None if it does not exist."""
        for directory in self._directories:
            path = f"{directory}/{name}"
            resolved = self._resolve(path)
            if resolved == "/dev/null":
                return ""
            data = self._root.read(resolved) if resolved else None
            if data is not None:
                return decode(data)
        return None

    def _resolve(self, path: str) -> str:
        """Return the path to which a link of a unit leads, below the root directory; "" if none."""
        for _ in range(10):
            real = self._root.path(path)
            if not real.is_symlink():
                return path if real.exists() else ""
            path = os.path.normpath(os.path.join(os.path.dirname(path), os.readlink(real)))
            if path == "/dev/null":
                return path
        return ""

    def _read_drop_ins(self, name: str) -> list[str]:
        """Return the texts of the drop-ins, sorted by file name; /etc precedes /usr."""
        found: dict[str, str] = {}
        suffix = name.rpartition(".")[2]
        for directory in reversed(self._directories):
            for candidate in (suffix, *reversed(_list_names(name))):
                for file in self._root.list_names(f"{directory}/{candidate}.d"):
                    data = self._root.read(f"{directory}/{candidate}.d/{file}")
                    if file.endswith(".conf") and data is not None:
                        found[file] = decode(data)
        return [found[each] for each in sorted(found)]

    def _build_specifiers(self, unit: str) -> dict[str, str]:
        prefix = unit.rpartition(".")[0]
        name, _, instance = prefix.partition("@")
        home = self._account.home
        is_user = self._is_user_manager
        return {
            "n": unit,
            "N": prefix,
            "p": name,
            "P": _unescape(name),
            "i": instance,
            "I": _unescape(instance),
            "j": name.rpartition("-")[2],
            "u": self._account.name,
            "h": home,
            "H": socket.gethostname(),
            "t": f"/run/user/{os.geteuid()}" if is_user else "/run",
            "S": f"{home}/.local/state" if is_user else "/var/lib",
            "C": f"{home}/.cache" if is_user else "/var/cache",
            "L": f"{home}/.local/state/log" if is_user else "/var/log",
            "E": f"{home}/.config" if is_user else "/etc",
            "T": "/tmp",
            "V": "/var/tmp",
        }

    def is_active(self, name: str) -> bool | None:
        """Return whether systemd runs a timer; None if systemd does not run."""
        if not self._root.is_live:
            return bool(self.find_links(name)) and self._read_unit(name) is not None
        state = self._run("is-active", name).stdout.strip()
        return None if state == "" else state in ("active", "activating")

    def find_links(self, name: str) -> list[UnitLink]:
        """Return the links that enable a timer."""
        return [each for each in self._find_links(name) if Path(each.path).name == name]

    def is_masked(self, name: str) -> bool:
        path = self._root.path(f"{self.own_directory}/{name}")
        return path.is_symlink() and os.readlink(path) == "/dev/null"

    def manage(self, *arguments: str) -> None:
        """Run systemctl on the running manager. Raises BadRequest if it fails."""
        if not self._root.is_live or self._run("is-system-running").stdout.strip() == "offline":
            return
        done = self._run(*arguments)
        if done.returncode:
            raise BadRequest(f"systemctl {' '.join(arguments)} failed: {done.stderr.strip()}")

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        scope = ("--user",) if self._is_user_manager else ()
        try:
            return subprocess.run(
                ["systemctl", *scope, *arguments], capture_output=True, text=True, check=False
            )
        except FileNotFoundError:
            raise BadRequest("the program systemctl is not installed") from None


def _list_names(name: str) -> tuple[str, ...]:
    """Return the names under which a unit's file may be stored: its own, and its template's."""
    prefix, at, rest = name.partition("@")
    if not at:
        return (name,)
    return name, f"{prefix}@.{rest.rpartition('.')[2]}"


def _unescape(text: str) -> str:
    return _ESCAPE.sub(lambda found: chr(int(found[1], 16)), text.replace("-", "/"))


def normalise_event(text: str) -> str:
    """Return the normalized form of a calendar event by systemd-analyze, "" if it has none."""
    try:
        done = subprocess.run(
            ["systemd-analyze", "calendar", text], capture_output=True, text=True, check=False
        )
    except OSError:
        return ""
    found = _NORMALIZED.search(done.stdout)
    return found[1] if found and done.returncode == 0 else ""
