"""Operating system errors about files of a state directory, as errors that name file and remedy."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from mythjobs.config.state import StateDir, lookup_user_name
from mythjobs.errors import StateNotWritable

_FREE_SPACE: Final = "free space on its disk, then try again"
_DISK_REMEDIES: Final = {
    errno.ENOSPC: _FREE_SPACE,
    errno.EDQUOT: _FREE_SPACE,
    errno.EROFS: "mount its disk writable, then try again",
}


@contextmanager
def explaining_os_errors(state: StateDir) -> Iterator[None]:
    """Raise StateNotWritable for an OSError about a file of the state directory."""
    try:
        yield
    except OSError as error:
        path = error.filename
        if not isinstance(path, str) or not Path(path).is_relative_to(state.root):
            raise
        raise explain_os_error(error, path) from error


def explain_os_error(error: OSError, path: Path | str) -> StateNotWritable:
    """Return the error to raise for a file of a state directory that cannot be used.

    path: the file, or its directory, for an OSError that names no file.
    """
    remedy = _DISK_REMEDIES.get(error.errno or 0) or (
        f"see that it belongs to {lookup_user_name(os.getuid())} and that its disk is in order, or "
        "restore it from a backup"
    )
    return StateNotWritable(f"cannot use {error.filename or path}: {error.strerror}; {remedy}")


def is_disk_error(error: OSError) -> bool:
    """Return whether a disk is full, read-only or defective."""
    return error.errno in _DISK_REMEDIES or error.errno == errno.EIO
