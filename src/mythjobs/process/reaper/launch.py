"""Launch of a reaper process by the agent, and the path of its socket."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from pathlib import Path
from typing import Final

from mythjobs.errors import Unreachable
from mythjobs.process.reaper.directory import open_private
from mythjobs.process.reaper.scope import scope_command

# Code of the reaper process. Its interpreter runs with -I -S: sys.path has only the standard
# library and this package, no site-packages, and PYTHON* variables are ignored.
_CODE: Final = (
    "import sys; sys.path.insert(0, {parent!r}); "
    "from mythjobs.process.reaper.main import main; main()"
)
_LOG_TAIL_BYTES: Final = 2000


def launch_reaper(
    directory: Path, *, output: Path, scratch: Path, runtime: Path, timeout_s: float = 20.0
) -> str:
    """Start a reaper in `directory` and wait until its socket accepts connections.

    The reaper runs in its own session as a child of process 1 and logs to `directory/log`. If the
    agent is a systemd service, the reaper gets a scope of its own. Return a warning if the scope
    cannot be created, else "". Raises Unreachable, with the end of the log, if the reaper is not
    ready in time.
    """
    # Create the parent separately: mkdir with `parents` applies `mode` to the last directory only.
    directory.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    directory.mkdir(exist_ok=True, mode=0o700)
    parent = str(Path(__file__).resolve().parents[3])
    command = [
        sys.executable, "-I", "-S", "-c", _CODE.format(parent=parent),
        str(directory), str(output), str(scratch), str(runtime),
    ]  # fmt: skip
    prefix = scope_command(f"mythjobs-reaper-{directory.name}")
    if not prefix:
        _launch(command, directory, timeout_s)
        return ""
    try:
        _launch([*prefix, *command], directory, timeout_s)
    except Unreachable as error:
        _launch(command, directory, timeout_s)
        return f"a stop of this service ends all jobs (docs/systemd.md): {error.sentence}"
    return ""


def _launch(command: list[str], directory: Path, timeout_s: float) -> None:
    log = directory / "log"
    ready_fd, child_fd = os.pipe()
    argv = [*command, str(child_fd)]
    try:
        with open(log, "ab", opener=open_private) as log_file:
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
        # Reap the started process: it has forked the reaper and exits at once.
        process.wait()
    finally:
        os.close(ready_fd)
        if child_fd >= 0:
            os.close(child_fd)


def _wait_ready(fd: int, timeout_s: float) -> bool:
    """Return whether the reaper reports that it is ready, by writing "1" to its pipe. End of file
    without this byte means that the reaper exited."""
    readable, _, _ = select.select([fd], [], [], timeout_s)
    return bool(readable) and os.read(fd, 1) == b"1"


def _read_log_tail(log: Path) -> str:
    text = log.read_bytes()[-_LOG_TAIL_BYTES:].decode("utf-8", "replace").strip()
    return text or f"its log {log} is empty"


def find_socket_path(directory: Path) -> Path:
    """Return the path of the socket of the reaper in `directory`."""
    try:
        return Path((directory / "address").read_text(encoding="utf-8", errors="surrogateescape"))
    except FileNotFoundError:
        return directory / "socket"
