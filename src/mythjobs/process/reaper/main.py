"""The reaper's process. Everything is imported here: an upgrade may delete the files later."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from pathlib import Path

from mythjobs.process.kernel import adopt_orphans
from mythjobs.process.reaper import address
from mythjobs.process.reaper.attempt import Places
from mythjobs.process.reaper.server import Reaper, install
from mythjobs.process.spawn import stubbed
from mythjobs.process.spawn.vfork import clean_signals
from mythjobs.process.supervise import rlimits

USAGE = "usage: DIR OUTPUT_DIR SCRATCH_DIR RUNTIME_DIR READY_FD"


def main() -> None:
    if len(sys.argv) != 6:
        sys.exit(USAGE)
    directory, output, scratch, runtime = (os.path.abspath(each) for each in sys.argv[1:5])
    ready = int(sys.argv[5])
    os.set_inheritable(ready, False)
    # Whoever launched us waits for our first process and is rid of it; from here on we are
    # nobody's child but process 1's, and lead no session that a terminal could be tied to.
    if os.fork():
        os._exit(0)
    os.chdir("/")
    # Ours are private; what jobs make is as open as their owner has it.
    umask = os.umask(0o077)
    clean_signals()
    rlimits.raise_descriptors()
    try:
        lock = address.take_lock(Path(directory))
        if lock is None:
            sys.exit("another reaper runs in this directory")
        reaper, path = _make(directory, output, scratch, runtime, umask)
    except OSError as error:
        sys.exit(str(error))
    os.write(ready, b"1")
    os.close(ready)
    # What is here now is here for good; only what jobs leave behind is worth looking through.
    gc.collect()
    gc.freeze()
    reaper.run()
    if os.path.dirname(path) != directory:
        with contextlib.suppress(OSError):
            os.unlink(path)


def _make(
    directory: str, output: str, scratch: str, runtime: str, umask: int
) -> tuple[Reaper, str]:
    """The reaper and the path of its socket. Raises OSError."""
    for each in (output, scratch, runtime):
        os.makedirs(each, mode=0o700, exist_ok=True)
    path = _prepare_socket(directory, runtime)
    stubbed.keep()
    adopt_orphans()
    null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    reaper = Reaper(directory, path, Places(output, scratch, runtime, null, umask))
    install(reaper)
    return reaper, path


def _prepare_socket(directory: str, runtime: str) -> str:
    path = address.choose(directory, runtime)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    if os.path.dirname(path) != directory:
        Path(directory, "address").write_text(path, encoding="utf-8", errors="surrogateescape")
    return path
