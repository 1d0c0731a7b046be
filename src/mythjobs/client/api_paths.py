"""URL paths of what has a name, such as commands; names that no path can contain are refused."""

from __future__ import annotations

from mythjobs.errors import (
    NoSuchChannel,
    command_not_found,
    machine_not_found,
    schedule_not_found,
)
from mythjobs.model.names import invalid_semaphore_name


def percent_encode(text: str) -> str:
    """Percent-encode text for a path segment or a query (RFC 3986)."""
    safe = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
    return "".join(chr(c) if c in safe else f"%{c:02X}" for c in text.encode())


def command_path(name: str) -> str:
    """Return the API path of a command. Raises NoSuchCommand if no path can contain the name."""
    if _is_not_routable(name):
        raise command_not_found(name)
    return f"commands/{percent_encode(name)}"


def machine_path(name: str) -> str:
    """Return the API path of a machine. Raises NoSuchMachine if no path can contain the name."""
    if _is_not_routable(name):
        raise machine_not_found(name)
    return f"machines/{percent_encode(name)}"


def join_request_path(name: str) -> str:
    """Return the API path of a machine's request to join, by its name or id. Raises NoSuchMachine
    if no path can contain the name."""
    if _is_not_routable(name):
        raise machine_not_found(name)
    return f"join-requests/{percent_encode(name)}"


def semaphore_path(name: str) -> str:
    """Return the API path of a semaphore. Raises BadRequest if no path can contain the name."""
    if _is_not_routable(name):
        raise invalid_semaphore_name(name)
    return f"semaphores/{percent_encode(name)}"


def channel_path(name: str) -> str:
    """Return the API path of a channel. Raises NoSuchChannel if no path can contain the name."""
    if _is_not_routable(name):
        raise NoSuchChannel(f'there is no channel "{name}"; see `mythjobs notify list`')
    return f"channels/{percent_encode(name)}"


def schedule_path(name: str) -> str:
    """Return the API path of a schedule. Raises NoSuchSchedule if no path can contain the name."""
    if _is_not_routable(name):
        raise schedule_not_found(name)
    return f"schedules/{percent_encode(name)}"


def _is_not_routable(name: str) -> bool:
    # With such a name the request reaches another route, because the server decodes %2F to a
    # slash before routing and ignores an empty segment.
    return not name or "/" in name
