"""Switching timers off and on: the links that enable them, and the running manager."""

from __future__ import annotations

import datetime as dt
import os
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from mythjobs.config.files import sync_directory
from mythjobs.errors import BadRequest
from mythjobs.takeover.machine_root import MachineRoot
from mythjobs.takeover.systemd.unit_tree import TimerUnits, UnitLink

_MASK: Final = "/dev/null"
_VENDOR: Final = ("/usr/", "/lib/")


@dataclass(frozen=True, slots=True)
class TimerState:
    """How a timer was enabled before takeover.

    links: that enabled it. mask: path of a link to /dev/null that switches it off, "" if its links
    are removed instead, because the distribution's own links must stay. was_active: whether
    systemd ran it.
    """

    links: tuple[UnitLink, ...]
    mask: str
    was_active: bool

    def to_json(self) -> dict[str, Any]:
        return {
            "links": [list(each) for each in self.links],
            "mask": self.mask,
            "was_active": self.was_active,
        }

    @staticmethod
    def from_json(stored: dict[str, Any]) -> TimerState:
        links = tuple(UnitLink(*each) for each in stored["links"])
        return TimerState(links, stored["mask"], stored["was_active"])


class TimerSwitch:
    """Switches timers of one manager. Each step may be repeated after a crash."""

    def __init__(self, root: MachineRoot, units: TimerUnits) -> None:
        self._root = root
        self._units = units

    def read_state(self, name: str) -> TimerState:
        """Return the state of a timer that is on. Raises BadRequest if it cannot be switched."""
        links = tuple(self._units.find_links(name))
        mask = ""
        if any(each.path.startswith(_VENDOR) for each in links):
            mask = f"{self._units.own_directory}/{name}"
            if self._root.exists(mask):
                raise BadRequest(
                    f"cannot switch off {name}: a link in /usr enables it, and {mask} is in the "
                    "place of a mask; stop it with systemctl, then resume the schedule"
                )
        return TimerState(links, mask, self._units.is_active(name) is not False)

    def is_on(self, name: str) -> bool:
        """Return whether systemd runs the timer now, or will after the next start."""
        if self._units.is_masked(name):
            return False
        return bool(self._units.find_links(name)) or self._units.is_active(name) is True

    def switch_off(self, name: str, state: TimerState) -> None:
        if state.mask:
            self._link(UnitLink(state.mask, _MASK))
        else:
            for link in state.links:
                self._unlink(link)
        self._units.manage("daemon-reload")
        self._units.manage("stop", name)

    def switch_on(self, name: str, state: TimerState, last_run: dt.datetime | None) -> None:
        """Switch a timer on. last_run: when the queue ran it last, so that a timer with Persistent=
        does not make up for that run."""
        if state.mask:
            self._unlink(UnitLink(state.mask, _MASK))
        else:
            for link in state.links:
                self._link(link)
        if last_run is not None:
            self._record_run(name, last_run)
        self._units.manage("daemon-reload")
        if state.was_active:
            self._units.manage("start", name)

    def _record_run(self, name: str, last_run: dt.datetime) -> None:
        """Move the stamp of a timer with Persistent= to the last run if it is older."""
        stamp = self._root.path(f"{self._units.stamp_directory}/stamp-{name}")
        at_s = last_run.timestamp()
        try:
            if stamp.stat().st_mtime < at_s:
                os.utime(stamp, (at_s, at_s))
        except FileNotFoundError:
            pass  # the timer is not persistent
        except OSError as error:
            raise BadRequest(f"cannot change {stamp}: {error.strerror}") from None

    def _link(self, link: UnitLink) -> None:
        path = self._root.path(link.path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileExistsError):
                os.symlink(link.target, path)
            sync_directory(path.parent)
        except OSError as error:
            raise BadRequest(f"cannot create {path}: {error.strerror}") from None
        if not path.is_symlink() or os.readlink(path) != link.target:
            raise BadRequest(f"cannot restore {path}: another file is in its place")

    def _unlink(self, link: UnitLink) -> None:
        path = self._root.path(link.path)
        try:
            if path.is_symlink() and os.readlink(path) == link.target:
                path.unlink()
                sync_directory(path.parent)
        except OSError as error:
            raise BadRequest(f"cannot remove {path}: {error.strerror}") from None
