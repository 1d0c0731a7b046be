"""Entry point of the reaper process. It imports all modules at the start, because an upgrade may
delete their files while the reaper runs."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import threading

from mythjobs.clock import machine_now
from mythjobs.model.log_line import TEXT, VARIABLE, LogEvent, format_event
from mythjobs.process.cgroup.delegation import prepare_delegated_cgroup
from mythjobs.process.event_loop import log, set_log_format
from mythjobs.process.kernel import become_subreaper
from mythjobs.process.reaper.attempt import AttemptDirectories
from mythjobs.process.reaper.directory import choose_socket_path, open_private, try_lock
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
    # Continue in a forked child and let this process exit, which the launcher waits for. The child
    # belongs to process 1, and as it leads no session it can never get a controlling terminal.
    if os.fork():
        os._exit(0)
    set_log_format(_format_log_line)
    os.chdir("/")
    # Make the reaper's own files private. Jobs get the umask that the reaper has inherited.
    umask = os.umask(0o077)
    reset_signals()
    try:
        lock = try_lock(directory)
        if lock is None:
            sys.exit(f"another reaper runs in {directory}")
        reaper, path = _create_reaper(directory, output, scratch, runtime, umask)
    except OSError as error:
        sys.exit(str(error))
    log_thread = _start_log_thread()
    log(f"reaper started with pid {os.getpid()}", "info")
    os.write(ready, b"1")
    os.close(ready)
    # Exclude the existing objects from garbage collection: they live as long as the process.
    gc.collect()
    gc.freeze()
    reaper.run()
    # Close the log pipe. The log thread then writes what is left in the pipe and ends, unless the
    # disk hangs.
    os.close(2)
    log_thread.join(_LOG_TIMEOUT_S)
    if os.path.dirname(path) != directory:
        with contextlib.suppress(OSError):
            os.unlink(path)


def _format_log_line(level: str, message: str, trace: str) -> str:
    event = LogEvent(machine_now().wall_ms / 1000, "reaper", level, message, traceback=trace)
    return format_event(event, os.environ.get(VARIABLE, TEXT))


def _start_log_thread() -> threading.Thread:
    """Replace stderr by a pipe, and copy the pipe to the log file in a thread.

    The event loop writes to stderr and must not wait for a disk that hangs. Lines that do not fit
    into the pipe are dropped.
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
    prepare_delegated_cgroup()
    null_fd = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    reaper = Reaper(directory, path, AttemptDirectories(output, scratch, runtime, null_fd, umask))
    install_signal_handlers(reaper)
    return reaper, path


def _prepare_socket(directory: str, runtime: str) -> str:
    path = choose_socket_path(directory, runtime)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    if os.path.dirname(path) != directory:
        with open(os.path.join(directory, "address"), "wb", opener=open_private) as file:
            file.write(path.encode("utf-8", "surrogateescape"))
    return path
