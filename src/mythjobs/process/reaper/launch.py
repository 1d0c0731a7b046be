"""Starting a reaper that outlives whoever starts it."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from pathlib import Path
from typing import Final

from mythjobs.errors import Unreachable

# No site, no environment, no working directory on its path: what runs is this package.
_CODE: Final = (
    "import sys; sys.path.insert(0, {parent!r}); "
    "from mythjobs.process.reaper.main import main; main()"
)
_TAIL: Final = 2000


def launch(
    directory: Path, *, output: Path, scratch: Path, runtime: Path, deadline_s: float = 20.0
) -> None:
    """Start a reaper in `directory`, and come back once it listens (`address.socket_path`).

    It is a session of its own and nobody's child. Its log is `directory/log`. Raises
    Unreachable with the end of that log if it does not come up in time.
    """
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    parent = str(Path(__file__).resolve().parents[3])
    ours, theirs = os.pipe()
    argv = [
        sys.executable, "-I", "-S", "-c", _CODE.format(parent=parent),
        str(directory), str(output), str(scratch), str(runtime), str(theirs),
    ]  # fmt: skip
    log = directory / "log"
    try:
        with log.open("ab") as written:
            first = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=written,
                stderr=written,
                start_new_session=True,
                pass_fds=(theirs,),
            )
        os.close(theirs)
        theirs = -1
        if not _is_ready(ours, deadline_s):
            first.kill()
            first.wait()
            raise Unreachable(f"the reaper did not start: {_end_of(log)}")
        first.wait()
    finally:
        os.close(ours)
        if theirs >= 0:
            os.close(theirs)


def _is_ready(fd: int, deadline_s: float) -> bool:
    """It says so by one byte; the end of file without it says that it died."""
    readable, _, _ = select.select([fd], [], [], deadline_s)
    return bool(readable) and os.read(fd, 1) == b"1"


def _end_of(log: Path) -> str:
    text = log.read_bytes()[-_TAIL:].decode("utf-8", "replace").strip()
    return text or f"it wrote nothing into {log}"
