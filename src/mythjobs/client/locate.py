"""Where the master of a state directory answers. Strings only: pathlib alone costs 4 ms."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from mythjobs.errors import BadRequest, NotAllowed, Unreachable

# A name may begin like that too, and be anybody's.
_LOOPBACK: Final = re.compile(r"127(\.[0-9]{1,3}){3}")


class Address(NamedTuple):
    """`socket` is a path, or empty: then host, port and token. `said` names it to a person."""

    label: str
    socket: str
    host: str = "localhost"
    port: int = 0
    token: str = ""


def find_socket(root: str) -> Address:
    """The socket that the master says it has, else the one it usually has.

    Raises NotAllowed where the state directory is another user's, Unreachable where there is none.
    """
    path = os.path.join(root, "master.json")
    try:
        with open(path, "rb") as file:
            said = json.load(file)
        socket = said["socket"]
    except PermissionError:
        raise not_allowed_error(root) from None
    except (FileNotFoundError, NotADirectoryError):
        raise unreachable_error(root) from None
    except (OSError, ValueError, TypeError, KeyError):
        socket = ""
    if not isinstance(socket, str) or not socket.startswith("/"):
        socket = os.path.join(root, "master.sock")
    return Address(root, socket)


def parse_url(url: str, root: str, environ: Mapping[str, str]) -> Address:
    """The master's port on this machine, with the token of the state directory or the file named.

    Raises BadRequest for anything else: there is no TLS here yet.
    """
    scheme, _, rest = url.rstrip("/").partition("://")
    host, colon, port = rest.rpartition(":")
    if scheme != "http" or not colon or not port.isdecimal() or not 0 < int(port) < 65_536:
        raise BadRequest(f'MYTHJOBS_URL is "{url}"; it must be like http://127.0.0.1:6545')
    if host not in ("localhost", "[::1]") and not _LOOPBACK.fullmatch(host):
        raise BadRequest(f"MYTHJOBS_URL names {host}; a token goes only to this machine itself")
    path = environ.get("MYTHJOBS_TOKEN_FILE") or os.path.join(root, "token")
    try:
        with open(path, encoding="ascii") as file:
            token = file.read().strip()
        if not (token.isprintable() and token and " " not in token):
            raise ValueError("it is no token")
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", "") or "it is no token"
        raise NotAllowed(
            f"the token in {path} cannot be read ({why}); name its file with MYTHJOBS_TOKEN_FILE"
        ) from None
    return Address(url, "", host.strip("[]"), int(port), token)


def unreachable_error(root: str) -> Unreachable:
    if pid := _find_lock_holder(root):
        return Unreachable(
            f"a master (pid {pid}) has {root} and cannot be reached: it is only starting, or files "
            "of it were deleted there; if it is the same in a moment, end it and start it again"
        )
    return Unreachable(f"nothing runs on {root}; start it with `mythjobs up`")


def _find_lock_holder(root: str) -> int:
    """Who holds the master's lock, else 0. To try it would be in the way of one that starts, so
    it is looked for in /proc/locks (proc_locks(5))."""
    path = os.path.join(root, "master.lock")
    try:
        with open(path, encoding="ascii") as file:
            pid, inode = int(file.read()), os.fstat(file.fileno()).st_ino
        with open("/proc/locks", encoding="ascii") as locks:
            held = [line.split() for line in locks if " FLOCK " in line]
    except (OSError, ValueError):
        return 0
    # Of a file system with several devices its number here is another than stat(2) says.
    there = any(each[4] == str(pid) and each[5].endswith(f":{inode}") for each in held)
    return pid if there else 0


def not_allowed_error(root: str) -> NotAllowed:
    try:
        import pwd

        owner = pwd.getpwuid(os.stat(root).st_uid).pw_name
    except (OSError, KeyError):
        owner = "another user"
    return NotAllowed(
        f"the state directory {root} belongs to {owner}; run mythjobs as that user, or name your "
        f"own with --state-dir"
    )
