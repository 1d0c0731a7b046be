"""Settings of the bridge in the state directory: the MythTV backend, and the commands that run
MythTV's jobs."""

from __future__ import annotations

import re
import socket
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv6Address
from pathlib import Path
from typing import Final

from mythjobs.config import files
from mythjobs.config.bounded_files import read_file
from mythjobs.config.file_kinds import check_files
from mythjobs.config.state import StateDir
from mythjobs.errors import ConfigError, DefinitionError
from mythjobs.model.names import is_encodable_host
from mythjobs.model.toml_values import Table, read_duration, read_int, read_text
from mythjobs.model.units import format_duration
from mythjobs.mythtv.rules import RecordingRule, format_rules, parse_rules

PROTOCOL_PORT: Final = 6543
STATUS_PORT: Final = 6544
POLL_S: Final = 2.0
# MythTV's protocol divides texts by blanks and by `[]:[]`, and escapes neither.
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_HOST: Final = re.compile(r"[\w.-]{1,253}")
_KEYS: Final = (
    "host", "port", "status_port", "pin", "user", "password", "name", "database", "poll",
    "commands",
)  # fmt: skip


@dataclass(frozen=True)
class BridgeDir:
    """Paths of the bridge's files; no file access."""

    root: Path  # STATE/mythtv

    @property
    def settings(self) -> Path:
        return self.root / "settings.toml"

    @property
    def rules(self) -> Path:
        return self.root / "rules.toml"

    @property
    def recordings(self) -> Path:
        """Until when recordings were examined."""
        return self.root / "recordings.json"

    @property
    def rows(self) -> Path:
        """The jobs of the rows of MythTV's queue."""
        return self.root / "rows.json"

    @property
    def takeover(self) -> Path:
        """The settings of MythTV's hosts before the takeover."""
        return self.root / "takeover.json"

    @property
    def status(self) -> Path:
        return self.root / "status.json"

    @property
    def lock(self) -> Path:
        return self.root / "lock"


@dataclass(frozen=True)
class BridgeSettings:
    """name: the host name under which the bridge claims rows. database: URL, or empty: then only
    the Services API is used. pin: MythTV's security pin. commands: our command for each of MythTV's
    job types (`name_type()`), and `transcode-ID` for a transcode profile."""

    host: str
    port: int = PROTOCOL_PORT
    status_port: int = STATUS_PORT
    pin: str = field(default="", repr=False)
    user: str = ""
    password: str = field(default="", repr=False)
    name: str = ""
    database: str = field(default="", repr=False)
    poll_s: float = POLL_S
    commands: Mapping[str, str] = field(default_factory=dict)


def bridge_dir(state_root: Path | str) -> BridgeDir:
    """Return the paths of the bridge's files. Raises StateNotWritable if a FIFO, a device or
    a socket is in the place of one."""
    directory = StateDir(Path(state_root)).mythtv_settings.parent
    check_files(directory)
    return BridgeDir(directory)


def default_name() -> str:
    """Return the bridge's host name in MythTV: never that of a backend on the same machine, whose
    rows are its own."""
    machine = socket.gethostname().partition(".")[0]
    return re.sub(r"[^A-Za-z0-9_-]", "-", f"mythjobs-{machine}")[:64]


def explain_bad_name(name: str) -> str:
    """Return why the bridge cannot have this host name in MythTV, "" if it can."""
    if _NAME.fullmatch(name):
        return ""
    return (
        "must be a host name of at most 64 letters, digits, dots, hyphens and underscores, "
        "because MythTV's protocol and its tables contain it"
    )


def explain_bad_host(host: str) -> str:
    """Return why this cannot be the host of a backend, "" if it can."""
    try:
        if (_HOST.fullmatch(host) and is_encodable_host(host)) or IPv6Address(host):
            return ""
    except ValueError:
        pass
    return "must be a host name or an address, without a port and without brackets"


def load_settings(directory: BridgeDir) -> BridgeSettings | None:
    """Return the settings, None without a file. Raises ConfigError."""
    text = _read_text(directory.settings)
    if text is None:
        return None
    try:
        return _parse_settings(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{directory.settings}: {error}") from None
    except DefinitionError as error:
        raise ConfigError(f"{directory.settings}: {error.sentence}") from None


def require_settings(directory: BridgeDir) -> BridgeSettings:
    """Return the settings. Raises ConfigError if there are none."""
    settings = load_settings(directory)
    if settings is None:
        raise ConfigError(
            "no MythTV backend is configured; run `mythjobs mythtv setup --host HOST` first"
        )
    return settings


def save_settings(directory: BridgeDir, settings: BridgeSettings) -> None:
    """Write the settings; only the user can read the file, because it may hold passwords."""
    import tomlkit

    document = tomlkit.document()
    document.add(tomlkit.comment("The MythTV backend of the bridge (docs/mythtv.md)."))
    defaults = BridgeSettings(settings.host)
    for key in ("host", "port", "status_port", "pin", "user", "password", "name", "database"):
        value = getattr(settings, key)
        if key == "host" or value != getattr(defaults, key):
            document[key] = value
    if settings.poll_s != defaults.poll_s:
        document["poll"] = format_duration(settings.poll_s)
    if settings.commands:
        document["commands"] = dict(settings.commands)
    directory.root.mkdir(mode=0o700, parents=True, exist_ok=True)
    files.replace_file(directory.settings, tomlkit.dumps(document).encode())


def load_rules(directory: BridgeDir) -> list[RecordingRule]:
    """Return the rules, none without a file. Raises ConfigError."""
    try:
        return parse_rules(read_rules_text(directory))
    except DefinitionError as error:
        raise ConfigError(f"{directory.rules}: {error.sentence}") from None


def read_rules_text(directory: BridgeDir) -> str:
    """Return the text of the rules' file, empty without one. Raises ConfigError."""
    return _read_text(directory.rules) or ""


def save_rules(directory: BridgeDir, rules: list[RecordingRule]) -> None:
    directory.root.mkdir(mode=0o700, parents=True, exist_ok=True)
    files.replace_file(directory.rules, format_rules(rules).encode())


def _read_text(path: Path) -> str | None:
    """Return the text of a file, None without one. Raises ConfigError."""
    try:
        return read_file(path).decode("utf-8")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} must be UTF-8 text") from None


def _parse_settings(given: Table) -> BridgeSettings:
    for key in given:
        if key not in _KEYS:
            raise DefinitionError(key, f"unknown key; known are {', '.join(_KEYS)}")
    host = read_text(given, "host")
    if not host:
        raise DefinitionError("host", 'is missing; write it like host = "mythbox"')
    if why := explain_bad_host(host):
        raise DefinitionError("host", why)
    name = read_text(given, "name") or default_name()
    if why := explain_bad_name(name):
        raise DefinitionError("name", why)
    commands = given.get("commands", {})
    if not isinstance(commands, dict) or not all(isinstance(v, str) for v in commands.values()):
        raise DefinitionError("commands", 'must be a table, like userjob1 = "checksum"')
    return BridgeSettings(
        host=host,
        port=read_int(given, "port", 1, 65535) or PROTOCOL_PORT,
        status_port=read_int(given, "status_port", 1, 65535) or STATUS_PORT,
        pin=read_text(given, "pin"),
        user=read_text(given, "user"),
        password=read_text(given, "password"),
        name=name,
        database=read_text(given, "database"),
        poll_s=read_duration(given, "poll", least_s=0.1) or POLL_S,
        commands=commands,
    )
