"""Where the API has what goes by a name, and which names cannot stand in a path."""

from __future__ import annotations

from mythjobs.errors import BadRequest, no_such_command, no_such_machine


def quote(text: str) -> str:
    """Any text as one part of a path or a query (RFC 3986)."""
    safe = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
    return "".join(chr(c) if c in safe else f"%{c:02X}" for c in text.encode())


def of_command(name: str) -> str:
    """Raises NoSuchCommand."""
    if _leads_elsewhere(name):
        raise no_such_command(name)
    return f"commands/{quote(name)}"


def of_machine(name: str) -> str:
    """Raises NoSuchMachine."""
    if _leads_elsewhere(name):
        raise no_such_machine(name)
    return f"machines/{quote(name)}"


def of_semaphore(name: str) -> str:
    """Raises BadRequest."""
    if _leads_elsewhere(name):
        raise BadRequest(f'"{name}" is no name; write small letters and digits, joined by - _ or .')
    return f"semaphores/{quote(name)}"


def _leads_elsewhere(name: str) -> bool:
    # A server decodes %2F before it looks for the route, and an empty part is none to it.
    return not name or "/" in name
