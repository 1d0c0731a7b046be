"""Syntax of names: commands, semaphores, labels; machines; parameters; environment variables;
hosts."""

from __future__ import annotations

import re
from typing import Final

from mythjobs.errors import BadRequest

NAME: Final = re.compile(r"[a-z][a-z0-9]*(?:[-_.][a-z0-9]+)*")
# A label may have parts, such as `ffmpeg:libx264`.
LABEL: Final = re.compile(rf"{NAME.pattern}(?::[a-z0-9]+(?:[-_.][a-z0-9]+)*)?")
NAME_SYNTAX: Final = "small letters and digits, joined by - _ or ."
MAX_NAME_LENGTH: Final = 100
PARAMETER_NAME: Final = re.compile(r"[a-z][a-z0-9_]*")
ENVIRONMENT_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def is_short_name(name: str) -> bool:
    return len(name) <= MAX_NAME_LENGTH and NAME.fullmatch(name) is not None


def check_machine_name(name: str) -> None:
    """Raises BadRequest unless a machine may have this name: any text that a path of the API can
    contain."""
    is_text = name.isprintable() and name == name.strip() and "/" not in name
    if not is_text or not 0 < len(name) <= MAX_NAME_LENGTH:
        raise BadRequest(
            f"{name[: MAX_NAME_LENGTH + 1]!r} is not a name of a machine: it must be printable, "
            f"have 1 to {MAX_NAME_LENGTH} characters, no slash, and no space at its begin or end"
        )


def invalid_semaphore_name(name: str) -> BadRequest:
    return BadRequest(
        f'semaphore name "{name}" is invalid; use {NAME_SYNTAX} '
        f"(up to {MAX_NAME_LENGTH} characters)"
    )


def is_label(text: str) -> bool:
    return len(text) <= MAX_NAME_LENGTH and LABEL.fullmatch(text) is not None


def describe_invalid_label(text: str) -> str:
    return f'"{text}" is not a valid label; use {NAME_SYNTAX}, or two such names joined by :'


def is_encodable_host(host: str) -> bool:
    """Return whether the name of a host can be looked up: each part between dots has 1 to 63
    characters. For other names Python's sockets raise UnicodeError, which is no OSError."""
    try:
        host.encode("idna")
    except UnicodeError:
        return False
    return True
