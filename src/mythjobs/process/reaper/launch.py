"""Launching a reaper process; its socket path and its lock."""

from __future__ import annotations

import fcntl
import os
import select
import subprocess
import sys
from pathlib import Path
from typing import Final

from mythjobs.errors import Unreachable

# sys.path has only the standard library and this package: no site-packages, no environment.
_CODE: Final = (
    "import sys; sys.path.insert(0, {parent!r}); "
    "from mythjobs.process.reaper.main import main; main()"
)
_LOG_TAIL_BYTES: Final = 2000


def launch_reaper(
    directory: Path, *, output: Path, scratch: Path, runtime: Path, timeout_s: float = 20.0
) -> None:
    """Start a reaper in `directory` and wait until its socket accepts connections.

    The reaper runs in its own session as a child of process 1 and logs to `directory/log`.
    Raises Unreachable with the end of that log if the reaper is not ready in time.
    """
    # With `parents` only the last directory would get the mode.
    directory.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    directory.mkdir(exist_ok=True, mode=0o700)
    parent = str(Path(__file__).resolve().parents[3])
    ready_fd, child_fd = os.pipe()
    argv = [
        sys.executable, "-I", "-S", "-c", _CODE.format(parent=parent),
        str(directory), str(output), str(scratch), str(runtime), str(child_fd),
    ]  # fmt: skip
    log = directory / "log"
    try:
        with open(log, "ab", opener=_open_private) as log_file:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=log_file,
                stderr=log_file,
                start_new_session=True,
                pass_fds=(child_fd,),
            )
        os.close(child_fd)
        child_fd = -1
        if not _wait_ready(ready_fd, timeout_s):
            process.kill()
            process.wait()
            raise Unreachable(f"cannot start a reaper in {directory}: {_read_log_tail(log)}")
        # This process forks the reaper and exits.
        process.wait()
    finally:
        os.close(ready_fd)
        if child_fd >= 0:
            os.close(child_fd)


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _wait_ready(fd: int, timeout_s: float) -> bool:
    """Return whether the reaper wrote its byte. End of file without one means that it exited."""
    readable, _, _ = select.select([fd], [], [], timeout_s)
    return bool(readable) and os.read(fd, 1) == b"1"


def _read_log_tail(log: Path) -> str:
    text = log.read_bytes()[-_LOG_TAIL_BYTES:].decode("utf-8", "replace").strip()
    return text or f"its log {log} is empty"


# sun_path of unix(7) has 108 bytes, including a NUL.
_MAX_SOCKET_PATH_BYTES: Final = 107


def choose_socket_path(directory: str, runtime: str) -> str:
    """Return the path for a new socket: in `directory`, or in `runtime` if that is too long."""
    path = os.path.join(directory, "socket")
    if len(os.fsencode(path)) <= _MAX_SOCKET_PATH_BYTES:
        return path
    path = os.path.join(runtime, f"{os.path.basename(directory)}.socket")
    if len(os.fsencode(path)) > _MAX_SOCKET_PATH_BYTES:
        raise OSError(f"socket path is too long: {path}")
    return path


def find_socket_path(directory: Path) -> Path:
    """Return the path of the socket of the reaper in `directory`."""
    try:
        return Path((directory / "address").read_text(encoding="utf-8", errors="surrogateescape"))
    except FileNotFoundError:
        return directory / "socket"


def try_lock(directory: Path) -> int | None:
    """Return a descriptor that holds the reaper's lock, or None while the reaper runs.

    The holder of the lock may read the journal, kill leftovers and remove the directory.
    Closing the descriptor releases the lock. Raises OSError if the directory is missing.
    """
    fd = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return fd
