"""Check that no FIFO, device or socket is in the place of a file of a state directory.

Opening a FIFO waits for its other end, and reading /dev/zero never ends.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from mythjobs.errors import StateNotWritable

# Directories whose files mythjobs writes and reads. Those of jobs, such as `agent/scratch`, may
# have FIFOs; `output` has too many files, and they are read as far as their size says.
_DIRECTORIES: Final = ("", "tls", "agent", "agent/reapers/*", "mythtv", "import", "watch")

# Sockets of master and reapers.
_SOCKETS: Final = (".sock", "/socket")


def check_state_files(root: Path) -> None:
    """Check the directories of a state directory with `check_files`. Raises StateNotWritable."""
    for each in _DIRECTORIES:
        for directory in root.glob(each) if "*" in each else (root / each,):
            check_files(directory)


def check_files(directory: Path) -> None:
    """Raise StateNotWritable, which names the file, if a FIFO or a device is in a directory, or a
    symbolic link to one, or a socket under the name of a file."""
    try:
        with os.scandir(directory) as entries:
            # scandir() knows without a system call what is a file.
            paths = [each.path for each in entries if not each.is_file(follow_symlinks=False)]
    except OSError:
        return  # missing or not readable: reported where its files are opened
    for path in paths:
        if kind := _find_kind(path):
            raise StateNotWritable(
                f"cannot use {path}: it is {kind}, not a file; move it away, and restore the file "
                "from a backup if there was one"
            )


def _find_kind(path: str) -> str:
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return ""
    if stat.S_ISFIFO(mode):
        return "a FIFO"
    if stat.S_ISSOCK(mode) and not path.endswith(_SOCKETS):
        return "a socket"
    return "a device" if stat.S_ISCHR(mode) or stat.S_ISBLK(mode) else ""
