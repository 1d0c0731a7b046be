"""Address of the master of a state directory. Paths are strings: importing pathlib takes 4 ms."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Final, NamedTuple

from mythjobs.errors import BadRequest, ConfigError, NotAllowed, Unreachable
from mythjobs.model.state_path import default_state_path

# Addresses of the loopback interface. All four numbers are required, because a host name can
# begin with "127." too.
_LOOPBACK: Final = re.compile(r"127(\.[0-9]{1,3}){3}")
_MAX_FILE_BYTES: Final = 65_536


class Address(NamedTuple):
    """Address of a master: path of its Unix socket or, if that is empty, host, port and token.

    label: how messages to the user name the master. version: of the running master, "" if unknown.
    """

    label: str
    socket: str
    host: str = "localhost"
    port: int = 0
    token: str = ""
    version: str = ""


def find_socket(root: str) -> Address:
    """Return the Unix socket of the master: the one in master.json, else `master.sock`.

    Raises NotAllowed if the state directory is another user's, Unreachable if it is missing.
    """
    try:
        info = _read_master_info(root)
    except PermissionError:
        raise not_allowed_error(root) from None
    except (FileNotFoundError, NotADirectoryError):
        raise unreachable_error(root) from None
    except OSError:
        info = {}
    socket = info.get("socket")
    if not isinstance(socket, str) or not socket.startswith("/"):
        socket = os.path.join(root, "master.sock")
    return Address(root, socket, version=_get_version(info))


def parse_url(url: str, root: str, environ: Mapping[str, str]) -> Address:
    """Return the address in the URL, with the token in MYTHJOBS_TOKEN_FILE or the state directory.

    Raises BadRequest for a host other than this machine, because the connection has no TLS.
    """
    scheme, _, rest = url.rstrip("/").partition("://")
    host, colon, port = rest.rpartition(":")
    if scheme != "http" or not colon or not port.isdecimal() or not 0 < int(port) < 65_536:
        raise BadRequest(f'MYTHJOBS_URL is "{url}"; it must be like http://127.0.0.1:6545')
    if host not in ("localhost", "[::1]") and not _LOOPBACK.fullmatch(host):
        raise BadRequest(f"MYTHJOBS_URL names {host}; the token is sent only to this machine")
    path = environ.get("MYTHJOBS_TOKEN_FILE") or os.path.join(root, "token")
    try:
        with open(path, encoding="ascii") as file:
            token = file.read().strip()
        if not (token.isprintable() and token and " " not in token):
            raise ValueError("not a token")
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", "") or "not a token"
        raise NotAllowed(
            f"cannot read the token in {path} ({why}); name its file with MYTHJOBS_TOKEN_FILE"
        ) from None
    try:
        info = _read_master_info(root)
    except OSError:
        info = {}
    # The URL may be that of a master with another state directory.
    version = _get_version(info) if info.get("port") == int(port) else ""
    return Address(url, "", host.strip("[]"), int(port), token, version)


def _read_master_info(root: str) -> dict[str, object]:
    """Return the content of `master.json`, {} if that is damaged. Raises OSError."""
    try:
        info = json.loads(_read_file(os.path.join(root, "master.json")))
    except ValueError:
        return {}
    return info if isinstance(info, dict) else {}


def _read_file(path: str) -> bytes:
    """Return the content of a small file. A FIFO and a device neither block nor fill the memory.
    Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return os.read(fd, _MAX_FILE_BYTES)
    finally:
        os.close(fd)


def _get_version(info: dict[str, object]) -> str:
    version = info.get("version")
    return version if isinstance(version, str) else ""


def unreachable_error(root: str) -> Unreachable:
    if pid := _find_lock_holder(root):
        return Unreachable(
            f"the master (pid {pid}) of {root} cannot be reached: it is starting, or its files "
            "there were deleted; try again in a moment, else restart it"
        )
    if not root.startswith("/"):  # a URL
        return Unreachable(
            f"no master is running for {root}; start one with `mythjobs up`, or correct "
            "MYTHJOBS_URL"
        )
    return Unreachable(f"no master is running for {root}; start one with `{_format_up(root)}`")


def _format_up(root: str) -> str:
    """Return the command line that starts a master for this state directory."""
    with suppress(ConfigError):
        if os.path.abspath(default_state_path(os.environ)) == root:
            return "mythjobs up"
    import shlex

    return f"mythjobs --state-dir {shlex.quote(root)} up"


def _find_lock_holder(root: str) -> int:
    """Return the pid of the process that holds the master's lock, 0 if none does.

    The lock is looked up in /proc/locks (proc_locks(5)). Trying to lock the file could make a
    master that is just starting fail.
    """
    path = os.path.join(root, "master.lock")
    try:
        pid, inode = int(_read_file(path)), os.stat(path).st_ino
        with open("/proc/locks", encoding="ascii") as locks:
            held = [line.split() for line in locks if " FLOCK " in line]
    except (OSError, ValueError):
        return 0
    # Compare the inode only. On file systems with several devices (btrfs) the device number in
    # /proc/locks differs from that of stat(2).
    is_held = any(each[4] == str(pid) and each[5].endswith(f":{inode}") for each in held)
    return pid if is_held else 0


def not_allowed_error(root: str) -> NotAllowed:
    try:
        import pwd

        owner = pwd.getpwuid(os.stat(root).st_uid).pw_name
    except (OSError, KeyError):
        owner = "another user"
    return NotAllowed(
        f"the state directory {root} belongs to {owner}; run mythjobs as that user, or name "
        "another one with --state-dir"
    )
