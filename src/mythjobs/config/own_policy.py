"""File with the machine's own policy, which its owner writes and its agent reads at the start."""

from __future__ import annotations

import json
import os
import stat
import tomllib
from pathlib import Path
from typing import Final

from mythjobs.config.bounded_files import MAX_TEXT_BYTES, read_stream
from mythjobs.errors import ConfigError, DefinitionError
from mythjobs.model.own_policy import (
    NO_OWN_POLICY,
    OwnPolicy,
    own_policy_from_table,
    own_policy_to_table,
)

# The master reads hellos of up to 16 KiB.
_MAX_BYTES: Final = 8 * 1024


def read_own_policy(path: Path) -> OwnPolicy:
    """Return the machine's own policy, one that limits nothing if there is no such file.

    Raises ConfigError if the file is invalid, or if others than its owner can write it: a policy
    that cannot be trusted must not be ignored.
    """
    try:
        with path.open("rb") as file:
            facts = os.fstat(file.fileno())
            table = tomllib.loads(read_stream(file, MAX_TEXT_BYTES).decode())
    except FileNotFoundError:
        return NO_OWN_POLICY
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read the machine's own policy {path}: {error}") from None
    if facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH) or facts.st_uid not in (0, os.getuid()):
        raise ConfigError(
            f"other users can write the machine's own policy {path}; run chmod go-w on it, and "
            "chown it to root or to the agent's user"
        )
    try:
        own = own_policy_from_table(table)
    except DefinitionError as error:
        raise ConfigError(f"the machine's own policy {path}: {error.sentence}") from None
    if len(json.dumps(own_policy_to_table(own))) > _MAX_BYTES:
        raise ConfigError(
            f"the machine's own policy {path} has more than {_MAX_BYTES // 1024} KiB, which the "
            "agent cannot tell its master; name fewer commands or directories"
        )
    return own


def check_user(own: OwnPolicy, path: Path, user: str) -> None:
    """Raise ConfigError if the policy does not let this user's agent run jobs."""
    if own.users and user not in own.users:
        raise ConfigError(
            f"the machine's own policy {path} lets jobs run as {' or '.join(own.users)} only, and "
            f"this agent runs as {user}; start it as another user, or change `users` there"
        )
