"""Where MythTV's database is: config.xml, a URL, the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit
from xml.etree import ElementTree

from mythjobs.config.bounded_files import read_file
from mythjobs.errors import BadRequest, ConfigError
from mythjobs.model.names import is_encodable_host

# The environment may have a password; the command line may not, because any user can read it.
ENVIRONMENT: Final = "MYTHJOBS_MYTHTV_DATABASE"
DEFAULT_PORT: Final = 3306
_EXAMPLE: Final = "mysql://mythtv@192.168.1.10/mythconverg"
_SOCKETS: Final = (
    "/run/mysqld/mysqld.sock", "/var/run/mysqld/mysqld.sock", "/var/lib/mysql/mysql.sock",
    "/tmp/mysql.sock",
)  # fmt: skip
_MAX_FILE_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class DatabaseAddress:
    """Address of MythTV's database. socket: path of a Unix socket, used instead of host and port.
    source: for messages."""

    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    user: str = "mythtv"
    password: str = field(default="mythtv", repr=False)
    name: str = "mythconverg"
    socket: str = ""
    source: str = ""

    @property
    def label(self) -> str:
        where = self.socket or f"{self.host}:{self.port}"
        return f"{self.name} on {where} as {self.user}"


def find_config_file(environ: Mapping[str, str]) -> Path | None:
    """Return MythTV's config.xml of this user or machine, None if there is none."""
    home = environ.get("HOME", "")
    places = [
        environ.get("MYTHCONFDIR", ""),
        f"{home}/.mythtv" if home else "",
        "/etc/mythtv",
        "/home/mythtv/.mythtv",
        "/var/lib/mythtv/.mythtv",
    ]
    for each in places:
        path = Path(each, "config.xml")
        # A directory of another user may not be readable: it is then no place to look in.
        if each and os.access(path, os.R_OK) and path.is_file():
            return path
    return None


def find_address(environ: Mapping[str, str], *, config: str = "", url: str = "") -> DatabaseAddress:
    """Return the address from `url`, from the file `config`, from the environment, or from
    MythTV's own config.xml, the first that is given. Raises BadRequest, ConfigError."""
    if url and config:
        raise BadRequest("--database and --config both name a database; omit one of them")
    if url:
        address = parse_url(url, "--database")
        if urlsplit(url).password is not None:
            raise BadRequest(
                "--database has a password, which other users of this machine could read; give it "
                f"in {ENVIRONMENT}, or name a config.xml with --config"
            )
        return address
    if config:
        return read_config_file(Path(config))
    if given := environ.get(ENVIRONMENT):
        return parse_url(given, ENVIRONMENT)
    found = find_config_file(environ)
    if found is None:
        raise ConfigError(
            "no config.xml of MythTV is on this machine (~/.mythtv/config.xml), and no backend is "
            "connected; run `mythjobs mythtv setup --host HOST`, name a config.xml with --config, "
            f"or set {ENVIRONMENT} to a URL like {_EXAMPLE}"
        )
    return read_config_file(found)


def parse_url(url: str, source: str) -> DatabaseAddress:
    """Parse `mysql://USER:PASSWORD@HOST:PORT/DATABASE?socket=PATH`. Raises BadRequest."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise BadRequest(f"{source}: {error}; use a URL like {_EXAMPLE}") from None
    if parts.scheme not in ("mysql", "mariadb"):
        raise BadRequest(f"{source} must be a URL like {_EXAMPLE}")
    query = parse_qs(parts.query)
    if set(query) - {"socket"}:
        raise BadRequest(f"{source}: unknown option {min(set(query) - {'socket'})}; known: socket")
    host = parts.hostname or "127.0.0.1"
    if not is_encodable_host(host):
        raise BadRequest(f'{source}: "{host}" is not the name of a host; use a URL like {_EXAMPLE}')
    return DatabaseAddress(
        host=host,
        port=port or DEFAULT_PORT,
        user=unquote(parts.username or "mythtv"),
        password=unquote(parts.password or ""),
        name=unquote(parts.path.lstrip("/")) or "mythconverg",
        socket=query.get("socket", [""])[-1],
        source=source,
    )


def read_config_file(path: Path) -> DatabaseAddress:
    """Read MythTV's config.xml. Missing elements have MythTV's defaults. Raises ConfigError."""
    try:
        data = read_file(path, _MAX_FILE_BYTES)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    # MythTV's file has no entities; refusing them all prevents their expansion to gigabytes.
    if b"<!" in data.replace(b"<!--", b""):
        raise ConfigError(f"{path} has a document type or entities, which MythTV does not write")
    try:
        root = ElementTree.fromstring(data)
    except ElementTree.ParseError as error:
        raise ConfigError(f"{path} is not valid XML: {error}") from None
    if root.tag != "Configuration":
        raise ConfigError(f"{path} is not MythTV's config.xml: its root is {root.tag[:40]}")
    # Versions before 0.26 wrote the values below UPnP/MythFrontend/DefaultBackend.
    old = "UPnP/MythFrontend/DefaultBackend/"

    def read(name: str, old_name: str, default: str) -> str:
        text = root.findtext(f"Database/{name}") or root.findtext(old + old_name)
        return (text or "").strip() or default

    default = DatabaseAddress()
    port = read("Port", "DBPort", str(DEFAULT_PORT))
    # MythTV writes 0 for the default port.
    number = int(port) if port.isascii() and port.isdecimal() else 0
    host = read("Host", "DBHostName", default.host)
    if not host.startswith("/") and not is_encodable_host(host):
        raise ConfigError(f'{path}: "{host}" is not the name of a host; correct Database/Host')
    return DatabaseAddress(
        host=host,
        port=number if 0 < number < 65536 else DEFAULT_PORT,
        user=read("UserName", "DBUserName", default.user),
        password=read("Password", "DBPassword", default.password),
        name=read("DatabaseName", "DBName", default.name),
        socket=_find_socket(host),
        source=str(path),
    )


def _find_socket(host: str) -> str:
    """Return the Unix socket that MySQL's own client uses for a host name: a path is a socket, and
    `localhost` is the server's usual one if there is one."""
    if host.startswith("/"):
        return host
    return (
        next((each for each in _SOCKETS if os.path.exists(each)), "") if host == "localhost" else ""
    )
