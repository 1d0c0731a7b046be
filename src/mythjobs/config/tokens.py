"""The token that a browser or a program shows on the master's port. No heavy imports: CLI."""

from __future__ import annotations

import secrets

from mythjobs.config import files
from mythjobs.config.state import StateDir
from mythjobs.errors import ConfigError


def load_or_create_token(state: StateDir) -> str:
    """The token of this state directory (32 random bytes, urlsafe, 0600), made if missing."""
    token = read_token(state)
    if token is None:
        made = files.create_once(state.token, secrets.token_urlsafe(32).encode() + b"\n")
        token = made.decode().strip()
    if len(token) < 32:
        raise ConfigError(f"{state.token} holds no token; remove it and a new one is made")
    return token


def read_token(state: StateDir) -> str | None:
    try:
        return state.token.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return None
    except UnicodeDecodeError:
        return ""
