"""Entry point of the reaper process. Imports all modules now: an upgrade may delete the files."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import threading
from pathlib import Path

from mythjobs.process.kernel import become_subreaper
from mythjobs.process.reaper.attempt import AttemptDirectories
from mythjobs.process.reaper.launch import choose_socket_path, try_lock
from mythjobs.process.reaper.server import Reaper, install_signal_handlers
from mythjobs.process.spawn.stub import pin_stub
from mythjobs.process.spawn.vfork import reset_signals

_LOG_TIMEOUT_S = 2.0
USAGE = "usage: DIR OUTPUT_DIR SCRATCH_DIR RUNTIME_DIR READY_FD"


def main() -> None:
    if len(sys.argv) != 6:
        sys.exit(USAGE)
    directory, output, scratch, runtime = (os.path.abspath(each) for each in sys.argv[1:5])
    ready = int(sys.argv[5])
    os.set_inheritable(ready, False)
    # The launcher waits for this first process. Its child belongs to process 1 and, as it leads no
    # session, can never get a controlling terminal.
    if os.fork():
        os._exit(0)
    os.chdir("/")
    # The reaper's own files are private; jobs get the umask that the reaper inherited.
    umask = os.umask(0o077)
    reset_signals()
    try:
        lock = try_lock(Path(directory))
        if lock is None:
            sys.exit(f"another reaper runs in {directory}")
        reaper, path = _create_reaper(directory, output, scratch, runtime, umask)
    except OSError as error:
        sys.exit(str(error))
    log_thread = _start_log_thread()
    os.write(ready, b"1")
    os.close(ready)
    # Exclude the objects that live as long as the process from garbage collection.
    gc.collect()
    gc.freeze()
    reaper.run()
    # Ends the thread once it has written what is in the pipe, unless the disk hangs.
    os.close(2)
    log_thread.join(_LOG_TIMEOUT_S)
    if os.path.dirname(path) != directory:
        with contextlib.suppress(OSError):
            os.unlink(path)


def _start_log_thread() -> threading.Thread:
    """Turn stderr into a pipe, and copy that to the log in a thread.

    The event loop logs, and must not wait for a disk that hangs. What the pipe does not take is
    dropped.
    """
    read_fd, write_fd = os.pipe2(os.O_CLOEXEC)
    log_fd = os.dup(2)
    os.set_blocking(write_fd, False)
    os.dup2(write_fd, 2, inheritable=False)
    os.close(write_fd)
    thread = threading.Thread(target=_copy_log, args=(read_fd, log_fd), name="log", daemon=True)
    thread.start()
    return thread


def _copy_log(read_fd: int, log_fd: int) -> None:
    while data := os.read(read_fd, 65536):
        with contextlib.suppress(OSError):
            os.write(log_fd, data)


def _create_reaper(
    directory: str, output: str, scratch: str, runtime: str, umask: int
) -> tuple[Reaper, str]:
    """Return the reaper and the path of its socket. Raises OSError."""
    for each in (output, scratch, runtime):
        os.makedirs(each, mode=0o700, exist_ok=True)
    path = _prepare_socket(directory, runtime)
    pin_stub()
    become_subreaper()
    null_fd = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    reaper = Reaper(directory, path, AttemptDirectories(output, scratch, runtime, null_fd, umask))
    install_signal_handlers(reaper)
    return reaper, path


def _prepare_socket(directory: str, runtime: str) -> str:
    path = choose_socket_path(directory, runtime)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    if os.path.dirname(path) != directory:
        Path(directory, "address").write_text(path, encoding="utf-8", errors="surrogateescape")
    return path
