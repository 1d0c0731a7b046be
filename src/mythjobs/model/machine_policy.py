"""Machine policy: a machine owner's settings, and their combination with those of a command."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from mythjobs.errors import DefinitionError
from mythjobs.model import toml_values as toml
from mythjobs.model.bounds import DEFAULT_GRACE_S, NO_BOUNDS, Bounds, tightest
from mythjobs.model.command import Command
from mythjobs.model.names import NAME
from mythjobs.model.path_map import read_paths
from mythjobs.model.policy_tables import (
    NO_WINDOWS,
    Windows,
    read_bounds,
    read_closing,
    read_labels,
    read_windows,
)
from mythjobs.model.units import format_duration, format_size
from mythjobs.model.window import Hours, Overrides
from mythjobs.model.zone import load_zone

MAX_JOBS: Final = 10_000
_KEYS: Final = (
    "jobs", "zone", "labels", "no_labels", "files", "paths", "allow", "windows", "limits",
    "commands",
)  # fmt: skip
_COMMAND_KEYS: Final = ("allow", "windows", "limits", "jobs", "closing", "grace")


class Rights(NamedTuple):
    """Commands that a machine may run, by `mode`: `all` (`commands` is empty); `listed`: only those
    in `commands`; `except`: all but those in `commands`."""

    mode: str
    commands: frozenset[str]

    def allows(self, command: str) -> bool:
        return (command in self.commands) == (self.mode == "listed")

    def with_changes(self, *, allow: frozenset[str], deny: frozenset[str]) -> Rights:
        """Return rights that also allow and deny these commands; deny takes precedence."""
        if self.mode == "listed":
            return Rights("listed", (self.commands | allow) - deny)
        excepted = (self.commands - allow) | deny
        return Rights("except", excepted) if excepted else ALLOW_ALL

    def to_json(self) -> str:
        """Return the stored form: {"mode": "listed", "commands": ["backup"]}."""
        return json.dumps({"mode": self.mode, "commands": sorted(self.commands)})

    @classmethod
    def from_json(cls, text: str) -> Rights:
        value = json.loads(text)
        return cls(value["mode"], frozenset(value["commands"]))


# The default: a machine without policy runs nothing.
ALLOW_NOTHING: Final = Rights("listed", frozenset())
ALLOW_ALL: Final = Rights("all", frozenset())


@dataclass(frozen=True, slots=True)
class CommandPolicy:
    """A machine owner's settings for one command; `jobs`: maximum of its jobs at once."""

    windows: Windows = Windows()
    limits: Bounds = Bounds()
    jobs: int | None = None


_NO_POLICY: Final = CommandPolicy()


@dataclass(frozen=True, slots=True)
class MachinePolicy:
    """A machine owner's settings. jobs: slots; None: as the machine's agent decides. zone: time
    zone of the run windows; "" is the zone that the machine reports. labels: in addition to those
    that the machine finds by itself, less no_labels. files: directories; a job whose subject is a
    path below one of them prefers this machine. paths: by the path of submitters, the path here
    (model/path_map.py)."""

    jobs: int | None = None
    zone: str = ""
    labels: tuple[str, ...] = ()
    no_labels: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    paths: dict[str, str] = field(default_factory=dict)
    rights: Rights = ALLOW_NOTHING
    windows: Windows = Windows()
    limits: Bounds = Bounds()
    commands: dict[str, CommandPolicy] = field(default_factory=dict)

    def command(self, name: str) -> CommandPolicy:
        return self.commands.get(name, _NO_POLICY)

    def with_ceiling(self, name: str, jobs: int | None) -> MachinePolicy:
        """Return the policy with another maximum of a command's jobs at once; None: no maximum."""
        changed = replace(self.command(name), jobs=jobs)
        return replace(self, commands={**self.commands, name: changed})


def policy_from_table(given: toml.Table, *, known_zone: bool = True) -> MachinePolicy:
    """Parse a machine policy. Raises DefinitionError, which names the invalid key.

    known_zone: refuse a time zone that is not installed here. False for a policy from the store:
    its zone was installed when the owner set it, but may have been removed since.
    """
    for key in given:
        if key not in _KEYS:
            raise DefinitionError(key, f"unknown key; known are {', '.join(_KEYS)}")
    zone = toml.read_text(given, "zone")
    if known_zone:
        try:
            load_zone(zone)
        except ValueError as error:
            raise DefinitionError("zone", str(error)) from None
    files = toml.read_strings(given, "files", '["/srv/tv"]')
    for each in files:
        if not each.startswith("/"):
            raise DefinitionError("files", f'"{each}" must be an absolute path')
    tables = given.get("commands", {})
    if not isinstance(tables, dict):
        raise DefinitionError("commands", "must be tables with the header [commands.NAME]")
    rights = read_rights(given.get("allow"))
    commands = {}
    for name, value in tables.items():
        _check_name(name, f"commands.{name}")
        commands[name], allow = _parse_command(value, f"commands.{name}")
        if allow is not None:
            one = frozenset({name})
            rights = rights.with_changes(
                allow=one if allow else _NONE, deny=_NONE if allow else one
            )
    return MachinePolicy(
        jobs=toml.read_int(given, "jobs", 0, MAX_JOBS),
        zone=zone,
        labels=read_labels(given),
        no_labels=_read_no_labels(given),
        files=files,
        paths=read_paths(given.get("paths", {})),
        rights=rights,
        windows=read_windows(given.get("windows", {})),
        limits=read_bounds(given.get("limits", {})),
        commands=commands,
    )


_NONE: Final[frozenset[str]] = frozenset()


def _read_no_labels(given: toml.Table) -> tuple[str, ...]:
    refused = read_labels(given, key="no_labels")
    if both := set(refused) & set(read_labels(given)):
        raise DefinitionError("no_labels", f"{', '.join(sorted(both))} is also in labels")
    return refused


def read_rights(value: object) -> Rights:
    """Parse the key `allow`: "all", a list of commands, or { except = list of commands }.

    None allows nothing. Raises DefinitionError.
    """
    if value is None:
        return ALLOW_NOTHING
    if value == "all":
        return ALLOW_ALL
    if isinstance(value, dict) and set(value) == {"except"}:
        return Rights("except", _parse_names(value["except"]))
    if isinstance(value, list):
        return Rights("listed", _parse_names(value))
    raise DefinitionError(
        "allow", 'must be "all", a list of commands like ["backup"], or { except = ["transcode"] }'
    )


def _parse_names(value: object) -> frozenset[str]:
    if not isinstance(value, list):
        raise DefinitionError("allow", 'must be a list of commands, like ["backup"]')
    for each in value:
        _check_name(each, "allow")
    return frozenset(value)


def _check_name(name: object, key: str) -> None:
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise DefinitionError(key, f"{name!r} is not a command name; see `mythjobs command list`")


def _parse_command(value: object, key: str) -> tuple[CommandPolicy, bool | None]:
    """Parse a table [commands.NAME]. Return its settings, and `allow` (None if not given)."""
    given = toml.read_table(value, key, "jobs = 1", _COMMAND_KEYS)
    prefix = f"{key}."
    windows = read_windows(given.get("windows", {}), f"{key}.windows")
    closing, grace_s = read_closing(given, prefix)
    if (closing and windows.closing) or (grace_s is not None and windows.grace_s is not None):
        raise DefinitionError(f"{prefix}closing", "is also set in windows; remove one of them")
    windows = replace(
        windows,
        closing=closing or windows.closing,
        grace_s=windows.grace_s if grace_s is None else grace_s,
    )
    limits = read_bounds(given.get("limits", {}), f"{key}.limits")
    allow = toml.read_bool(given, "allow", prefix) if "allow" in given else None
    return CommandPolicy(windows, limits, toml.read_int(given, "jobs", 0, MAX_JOBS, prefix)), allow


def combined_limits(
    command: Command, policy: MachinePolicy, job: Bounds = NO_BOUNDS, own: Bounds = NO_BOUNDS
) -> Bounds:
    """Return the tightest of a job's limits: those set by the command, by the machine policy, by
    the machine policy for this command, by the job itself, and by the machine's own policy."""
    limits = command.limits
    author = Bounds(
        limits.wall_s,
        limits.cpu_s,
        limits.idle_s,
        limits.memory_bytes,
        limits.output_bytes,
        limits.processes,
        # The default grace period must not shorten one that another party sets.
        None if limits.grace_s == DEFAULT_GRACE_S else limits.grace_s,
        command.nice,
        command.io or None,
    )
    return tightest(author, policy.limits, policy.command(command.name).limits, job, own)


def combined_hours(
    command: Command,
    policy: MachinePolicy,
    zone: str,
    overrides: Overrides = (),
    own: Windows = NO_WINDOWS,
) -> Hours | None:
    """Return the hours of a command on a machine; None if they are always open.

    zone: the time zone that the machine reports, used if the policy sets none. own: windows of the
    machine's own policy; they follow the clock of the machine, whatever zone its master sets. The
    closing policy and the grace period are each taken from the first that sets them: the
    machine's own policy, the machine policy for this command, the machine policy, the command.
    """
    here = policy.command(command.name).windows
    sides = (own, here, policy.windows, command.windows)
    sets: tuple[tuple[str, ...], ...] = (command.windows.open, policy.windows.open, here.open)
    if own.open:
        sets, zone = (*sets, own.open), zone or policy.zone
    else:
        zone = policy.zone or zone
    if not any(sets) and not overrides:
        return None
    closing = next((each.closing for each in sides if each.closing), "finish")
    grace_s = next((each.grace_s for each in sides if each.grace_s is not None), None)
    return Hours(
        sets,
        zone,
        closing,
        command.limits.grace_s if grace_s is None else grace_s,
        tuple(overrides),
    )


def policy_to_table(owner: MachinePolicy) -> dict[str, object]:
    """Return TOML tables, without defaults, that `policy_from_table` parses to an equal policy."""
    table: dict[str, object] = {
        "jobs": owner.jobs,
        "zone": owner.zone,
        "labels": list(owner.labels),
        "no_labels": list(owner.no_labels),
        "files": list(owner.files),
        "paths": dict(owner.paths),
        "allow": rights_to_value(owner.rights),
        "windows": windows_to_table(owner.windows),
        "limits": bounds_to_table(owner.limits),
        "commands": {
            name: without_defaults(
                {
                    "jobs": each.jobs,
                    "windows": windows_to_table(each.windows),
                    "limits": bounds_to_table(each.limits),
                }
            )
            for name, each in owner.commands.items()
            if each != _NO_POLICY
        },
    }
    return without_defaults(table, keep=("allow",))


def rights_to_value(rights: Rights) -> object:
    """Return the value of the key `allow` that `read_rights` parses to these rights."""
    if rights.mode == "all":
        return "all"
    commands = sorted(rights.commands)
    return {"except": commands} if rights.mode == "except" else commands


def without_defaults(table: dict[str, object], keep: tuple[str, ...] = ()) -> dict[str, object]:
    return {
        k: v for k, v in table.items() if k in keep or (v is not None and v not in ("", [], {}))
    }


def windows_to_table(windows: Windows) -> dict[str, object]:
    return without_defaults(
        {
            "open": list(windows.open),
            "closing": windows.closing,
            "grace": format_duration(windows.grace_s),
        }
    )


def bounds_to_table(bounds: Bounds) -> dict[str, object]:
    return without_defaults(
        {
            "wall": format_duration(bounds.wall_s),
            "cpu": format_duration(bounds.cpu_s),
            "idle": format_duration(bounds.idle_s),
            "memory": format_size(bounds.memory_bytes),
            "output": format_size(bounds.output_bytes),
            "processes": bounds.processes,
            "grace": format_duration(bounds.grace_s),
            "nice": bounds.nice,
            "io": bounds.io,
        }
    )
