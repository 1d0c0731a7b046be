"""State directory and client of one run of the command line."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from mythjobs.errors import BadRequest

if TYPE_CHECKING:
    from mythjobs.client.client import Client

_clients: Final[list[Client]] = []  # the last one that this run of the command line has opened


def find_root(state_dir: str | None) -> str:
    """Return the absolute path of the state directory. state_dir: from the command line, or None.

    Raises BadRequest, ConfigError.
    """
    from mythjobs.model.state_path import default_state_path

    if state_dir == "":
        raise BadRequest("--state-dir is empty; name a directory, or omit the option")
    return os.path.abspath(state_dir or default_state_path(os.environ))


def open_client(state_dir: str | None) -> Client:
    """Return a client of the master that the command line or the environment names."""
    from mythjobs.client import locate
    from mythjobs.client.client import Client

    url = os.environ.get("MYTHJOBS_URL")
    # The option --state-dir takes precedence over MYTHJOBS_URL.
    if url and state_dir is None:
        return _remember(Client(locate.parse_url(url, find_root(state_dir), os.environ)))
    return _remember(Client(locate.find_socket(find_root(state_dir))))


def describe_difference() -> str:
    """Return how the versions of this program and of the last master differ, "" if they do not.

    An internal error may come from a response that a master of another version sent.
    """
    return _clients[-1].describe_difference() if _clients else ""


def _remember(client: Client) -> Client:
    _clients[:] = [client]
    return client
