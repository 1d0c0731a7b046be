"""Checks of a MythTV backend, and the address of its database."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from mythjobs.errors import BadRequest, NotAllowed, Unreachable
from mythjobs.mythtv.database.address import DEFAULT_PORT, DatabaseAddress, parse_url
from mythjobs.mythtv.database.connection import MythDatabase
from mythjobs.mythtv.json_values import read_number, read_table, read_text
from mythjobs.mythtv.protocol.connection import open_connection
from mythjobs.mythtv.services.client import Services
from mythjobs.mythtv.settings import BridgeSettings

_LOOPBACK = ("localhost", "::1", "")


def check_backend(settings: BridgeSettings, services: Services) -> dict[str, Any]:
    """Connect as the bridge does; return `{version, protocol, host, database}`.

    Raises BadRequest if the bridge's name is that of a MythTV host, and the errors of connections.
    """
    with open_connection(settings.host, settings.port) as connection:
        connection.announce_monitor(settings.name, 0)
        protocol = connection.version
    own = services.host_name()
    # MythTV's tables ignore the case of host names.
    taken = {each.casefold() for each in (own, *services.host_names())}
    if settings.name.casefold() in taken:
        raise BadRequest(
            f'"{settings.name}" is the name of a host of MythTV; choose another one with --name, '
            "because the bridge marks MythTV's jobs as its own by its name"
        )
    database = ""
    if settings.database:
        address = parse_url(settings.database, "the settings")
        try:
            with MythDatabase(address) as connected:
                connected.query("SELECT id FROM jobqueue LIMIT 1")
        except Unreachable as error:
            raise Unreachable(
                f"{error.sentence}; or connect to the backend alone with --no-database: then "
                "MythTV's screens do not show the jobs"
            ) from None
        database = address.label
    return {
        "version": services.version(), "protocol": protocol, "host": own, "database": database,
    }  # fmt: skip


def fetch_database(services: Services, pin: str, backend: str) -> DatabaseAddress:
    """Return the address of the backend's database, which the backend gives for its security pin.

    Raises NotAllowed for a wrong pin, ProtocolError, Unreachable.
    """
    try:
        found = read_table(services.get("Myth/GetConnectionInfo", Pin=pin), "ConnectionInfo")
    except (BadRequest, NotAllowed):
        found = {}
    database = read_table(found, "Database")
    host = read_text(database, "Host")
    if not host:
        raise NotAllowed(
            "the backend does not tell its database for this pin; MythTV's set-up shows its "
            "security pin (an empty one permits nobody), or name its config.xml with --config"
        )
    if host in _LOOPBACK or host.startswith("127."):
        # The loopback address is that of the backend's machine.
        host = backend
    return DatabaseAddress(
        host=host,
        port=read_number(database, "Port") or DEFAULT_PORT,
        user=read_text(database, "UserName"),
        password=read_text(database, "Password"),
        name=read_text(database, "Name"),
    )


def format_database(address: DatabaseAddress) -> str:
    """Return the URL that parse_url() reads as this address."""
    host = f"[{address.host}]" if ":" in address.host else address.host
    login = f"{quote(address.user, safe='')}:{quote(address.password, safe='')}"
    socket = f"?socket={quote(address.socket)}" if address.socket else ""
    return f"mysql://{login}@{host}:{address.port}/{quote(address.name, safe='')}{socket}"
