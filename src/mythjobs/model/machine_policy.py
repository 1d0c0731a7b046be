"""What a machine's owner says of it (`machine edit`), and how that joins with a command."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from mythjobs.errors import DefinitionError
from mythjobs.model import toml_values as r
from mythjobs.model.bounds import DEFAULT_GRACE_S, FREE, Bounds, tighter
from mythjobs.model.command import NAME, Command
from mythjobs.model.policy_tables import (
    Windows,
    read_bounds,
    read_closing,
    read_labels,
    read_windows,
)
from mythjobs.model.units import write_duration, write_size
from mythjobs.model.window import Hours, Overrides
from mythjobs.model.zone import zone_of

MOST_JOBS: Final = 10_000
_KEYS: Final = ("jobs", "zone", "labels", "files", "allow", "windows", "limits", "commands")
_COMMAND_KEYS: Final = ("allow", "windows", "limits", "jobs", "closing", "grace")


class Rights(NamedTuple):
    """What a machine's owner allows: `all`, only the `listed`, or all `except` the listed."""

    mode: str
    commands: frozenset[str]

    def allow(self, command: str) -> bool:
        if self.mode == "all":
            return True
        return (command in self.commands) == (self.mode == "listed")

    def changed(self, *, allow: frozenset[str], deny: frozenset[str]) -> Rights:
        """With these commands allowed or denied as well; what is denied stands above."""
        if self.mode == "listed":
            return Rights("listed", (self.commands | allow) - deny)
        excepted = (self.commands - allow) | deny
        return Rights("except", excepted) if excepted else EVERYTHING


# A machine with nothing said allows nothing.
NOTHING: Final = Rights("listed", frozenset())
EVERYTHING: Final = Rights("all", frozenset())


@dataclass(frozen=True, slots=True)
class OwnerCommand:
    """What the owner says of one command on this machine."""

    windows: Windows = Windows()
    limits: Bounds = Bounds()
    jobs: int | None = None


_UNSAID: Final = OwnerCommand()


@dataclass(frozen=True, slots=True)
class Owner:
    """A machine's settings. `jobs` None: as many as it has cores. `zone` "": what it says itself.
    `files` are directories that lie on it, so that jobs about something in them prefer it."""

    jobs: int | None = None
    zone: str = ""
    labels: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    rights: Rights = NOTHING
    windows: Windows = Windows()
    limits: Bounds = Bounds()
    commands: dict[str, OwnerCommand] = field(default_factory=dict)

    def command(self, name: str) -> OwnerCommand:
        return self.commands.get(name, _UNSAID)


def owner_from(given: r.Table, *, known_zone: bool = True) -> Owner:
    """Raises DefinitionError, which names the key, for anything that is not right.

    known_zone: whether the zone's rules must be here, as they must when it is set; what was
    stored is read also where they have gone meanwhile.
    """
    for key in given:
        if key not in _KEYS:
            raise DefinitionError(key, f"unknown key; known are {', '.join(_KEYS)}")
    zone = r.text(given, "zone")
    if known_zone:
        try:
            zone_of(zone)
        except ValueError as error:
            raise DefinitionError("zone", str(error)) from None
    files = r.words(given, "files", '["/srv/tv"]')
    for each in files:
        if not each.startswith("/"):
            raise DefinitionError("files", f'"{each}" is not an absolute directory')
    tables = given.get("commands", {})
    if not isinstance(tables, dict):
        raise DefinitionError("commands", "are tables, each headed [commands.NAME]")
    rights = _rights(given.get("allow"))
    commands = {}
    for name, value in tables.items():
        _check_name(name, f"commands.{name}")
        commands[name], allow = _command(value, f"commands.{name}")
        if allow is not None:
            one = frozenset({name})
            rights = rights.changed(allow=one if allow else _NONE, deny=_NONE if allow else one)
    return Owner(
        jobs=r.whole(given, "jobs", 0, MOST_JOBS),
        zone=zone,
        labels=read_labels(given),
        files=files,
        rights=rights,
        windows=read_windows(given.get("windows", {})),
        limits=read_bounds(given.get("limits", {})),
        commands=commands,
    )


_NONE: Final[frozenset[str]] = frozenset()


def _rights(value: object) -> Rights:
    """`"all"`, a list of commands, or a table of those that are not; nothing said is nothing."""
    if value is None:
        return NOTHING
    if value == "all":
        return EVERYTHING
    if isinstance(value, dict) and set(value) == {"except"}:
        return Rights("except", _names(value["except"]))
    if isinstance(value, list):
        return Rights("listed", _names(value))
    raise DefinitionError(
        "allow", 'must be "all", a list of commands like ["backup"], or { except = ["transcode"] }'
    )


def _names(value: object) -> frozenset[str]:
    if not isinstance(value, list):
        raise DefinitionError("allow", 'must name commands in a list, like ["backup"]')
    for each in value:
        _check_name(each, "allow")
    return frozenset(value)


def _check_name(name: object, key: str) -> None:
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise DefinitionError(key, f"{name!r} is no name of a command; see `mythjobs command list`")


def _command(value: object, key: str) -> tuple[OwnerCommand, bool | None]:
    """What is said of a command, and whether it is allowed, if that is said."""
    given = r.table(value, key, "jobs = 1", _COMMAND_KEYS)
    prefix = f"{key}."
    windows = read_windows(given.get("windows", {}), f"{key}.windows")
    closing, grace_s = read_closing(given, prefix)
    if (closing and windows.closing) or (grace_s is not None and windows.grace_s is not None):
        raise DefinitionError(
            f"{prefix}closing", "stands in windows as well; take one of them away"
        )
    windows = replace(
        windows,
        closing=closing or windows.closing,
        grace_s=windows.grace_s if grace_s is None else grace_s,
    )
    limits = read_bounds(given.get("limits", {}), f"{key}.limits")
    allow = r.flag(given, "allow", prefix) if "allow" in given else None
    return OwnerCommand(windows, limits, r.whole(given, "jobs", 0, MOST_JOBS, prefix)), allow


def combined_limits(command: Command, owner: Owner, job: Bounds = FREE) -> Bounds:
    """The tighter of author, owner, owner for this command, and the job itself, limit by limit."""
    limits = command.limits
    author = Bounds(
        limits.wall_s,
        limits.cpu_s,
        limits.idle_s,
        limits.memory_bytes,
        limits.output_bytes,
        limits.processes,
        # The grace that nobody chose makes nobody else's shorter.
        None if limits.grace_s == DEFAULT_GRACE_S else limits.grace_s,
        command.nice or None,
        command.io or None,
    )
    return tighter(author, owner.limits, owner.command(command.name).limits, job)


def hours(command: Command, owner: Owner, zone: str, overrides: Overrides = ()) -> Hours | None:
    """When this command may run there; None if nobody ever closes anything.

    zone: the machine's, if its owner did not set one. The owner's word on closing stands above
    the author's, and what he says of this command above what he says of all.
    """
    here = owner.command(command.name).windows
    sides = (here, owner.windows, command.windows)
    sets = (command.windows.open, owner.windows.open, here.open)
    if not any(sets) and not overrides:
        return None
    closing = next((each.closing for each in sides if each.closing), "finish")
    grace_s = next((each.grace_s for each in sides if each.grace_s is not None), None)
    return Hours(
        sets,
        owner.zone or zone,
        closing,
        command.limits.grace_s if grace_s is None else grace_s,
        tuple(overrides),
    )


def owner_to_table(owner: Owner) -> dict[str, object]:
    """As TOML tables that `owner_from` reads to the same; what is not said is left out."""
    rights: object = "all"
    if owner.rights.mode != "all":
        rights = sorted(owner.rights.commands)
        rights = {"except": rights} if owner.rights.mode == "except" else rights
    table: dict[str, object] = {
        "jobs": owner.jobs,
        "zone": owner.zone,
        "labels": list(owner.labels),
        "files": list(owner.files),
        "allow": rights,
        "windows": _windows_table(owner.windows),
        "limits": _bounds_table(owner.limits),
        "commands": {
            name: _said(
                {
                    "jobs": each.jobs,
                    "windows": _windows_table(each.windows),
                    "limits": _bounds_table(each.limits),
                }
            )
            for name, each in owner.commands.items()
            if each != _UNSAID
        },
    }
    return _said(table, keep=("allow",))


def _said(table: dict[str, object], keep: tuple[str, ...] = ()) -> dict[str, object]:
    return {
        k: v for k, v in table.items() if k in keep or (v is not None and v not in ("", [], {}))
    }


def _windows_table(windows: Windows) -> dict[str, object]:
    return _said(
        {
            "open": list(windows.open),
            "closing": windows.closing,
            "grace": write_duration(windows.grace_s),
        }
    )


def _bounds_table(bounds: Bounds) -> dict[str, object]:
    return _said(
        {
            "wall": write_duration(bounds.wall_s),
            "cpu": write_duration(bounds.cpu_s),
            "idle": write_duration(bounds.idle_s),
            "memory": write_size(bounds.memory_bytes),
            "output": write_size(bounds.output_bytes),
            "processes": bounds.processes,
            "grace": write_duration(bounds.grace_s),
            "nice": bounds.nice,
            "io": bounds.io,
        }
    )
