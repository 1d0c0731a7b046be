"""Token that authenticates programs and browsers on the master's port."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Final

from mythjobs.config import files
from mythjobs.config.state import StateDir
from mythjobs.errors import ConfigError

_LENGTH: Final = 32  # least number of characters of a valid token


def load_or_create_token(state: StateDir) -> str:
    """Return the token in the state directory, creating it if missing (32 random bytes, 0600).

    Raises ConfigError if the file has none.
    """
    token = read_token(state)
    if token is None:
        created = files.create_once(state.token, secrets.token_urlsafe(32).encode() + b"\n")
        token = created.decode().strip()
    if len(token) < _LENGTH:
        raise ConfigError(f"{state.token} has no valid token; remove the file to create a new one")
    return token


def read_token(state: StateDir) -> str | None:
    return _read(state.token)


def load_or_create_metrics_token(state: StateDir, *, is_new: bool = False) -> str:
    """Return the token with which metrics can be read, creating it if it is missing.

    is_new: replace it.
    """
    token = None if is_new else _read(state.metrics_token)
    if not token or len(token) < _LENGTH:
        token = secrets.token_urlsafe(32)
        files.replace_file(state.metrics_token, token.encode() + b"\n")
    return token


def read_metrics_token(state: StateDir) -> str:
    """Return the token with which metrics can be read, "" if there is no valid one."""
    token = _read(state.metrics_token) or ""
    return token if len(token) >= _LENGTH else ""


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return None
    except UnicodeDecodeError:
        return ""
