"""Where the API has what goes by a name, and which names cannot stand in a path."""

from __future__ import annotations

from mythjobs.errors import command_not_found, machine_not_found
from mythjobs.model.names import invalid_semaphore_name


def percent_encode(text: str) -> str:
    """Any text as one part of a path or a query (RFC 3986)."""
    safe = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
    return "".join(chr(c) if c in safe else f"%{c:02X}" for c in text.encode())


def command_path(name: str) -> str:
    """Raises NoSuchCommand."""
    if _is_not_routable(name):
        raise command_not_found(name)
    return f"commands/{percent_encode(name)}"


def machine_path(name: str) -> str:
    """Raises NoSuchMachine."""
    if _is_not_routable(name):
        raise machine_not_found(name)
    return f"machines/{percent_encode(name)}"


def semaphore_path(name: str) -> str:
    """Raises BadRequest."""
    if _is_not_routable(name):
        raise invalid_semaphore_name(name)
    return f"semaphores/{percent_encode(name)}"


def _is_not_routable(name: str) -> bool:
    # A server decodes %2F before it looks for the route, and an empty part is none to it.
    return not name or "/" in name
