"""Token that authenticates programs and browsers on the master's port."""

from __future__ import annotations

import secrets

from mythjobs.config import files
from mythjobs.config.state import StateDir
from mythjobs.errors import ConfigError


def load_or_create_token(state: StateDir) -> str:
    """Return the token in the state directory, creating it if missing (32 random bytes, 0600)."""
    token = read_token(state)
    if token is None:
        created = files.create_once(state.token, secrets.token_urlsafe(32).encode() + b"\n")
        token = created.decode().strip()
    if len(token) < 32:
        raise ConfigError(f"{state.token} has no valid token; remove the file to create a new one")
    return token


def read_token(state: StateDir) -> str | None:
    try:
        return state.token.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return None
    except UnicodeDecodeError:
        return ""
