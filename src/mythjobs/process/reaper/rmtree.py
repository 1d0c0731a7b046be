"""Removal of scratch directories of any depth and with any modes, without following symlinks."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from typing import Final

_OPEN: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove_tree(path: str) -> bool:
    """Remove a file or directory tree as far as possible; return whether it is gone.

    Paths in the tree may exceed PATH_MAX, and its depth Python's recursion limit: each directory
    is moved to the top of the tree before it is emptied. Modes that forbid access are changed.
    Symlinks are not followed, and file systems mounted in the tree are not entered.
    """
    try:
        if not stat.S_ISDIR(os.lstat(path).st_mode):
            os.unlink(path)
            return True
        os.chmod(path, 0o700)
        top = os.open(path, _OPEN)
    except OSError as error:
        return isinstance(error, FileNotFoundError)
    try:
        names = _empty(top, top)
        while names:
            names += _remove(names.pop(), top)
        os.rmdir(path)
    except OSError as error:
        return isinstance(error, FileNotFoundError)
    finally:
        os.close(top)
    return True


def _remove(name: str, top: int) -> list[str]:
    """Empty and remove the directory `name` in `top`. Return the new names of its subdirectories,
    which are moved to `top`."""
    moved: list[str] = []
    with suppress(OSError):
        fd = os.open(name, _OPEN, dir_fd=top)
        try:
            moved = _empty(fd, top)
        finally:
            os.close(fd)
        os.rmdir(name, dir_fd=top)
    return moved


def _empty(fd: int, top: int) -> list[str]:
    """Remove the files in a directory and move its subdirectories to `top`. Return the new names
    of the subdirectories."""
    with os.scandir(fd) as entries:
        inside = [(each.name, each.is_dir(follow_symlinks=False)) for each in entries]
    moved = []
    for name, is_directory in inside:
        with suppress(OSError):
            if is_directory:
                moved.append(_move_up(name, fd, top))
            else:
                os.unlink(name, dir_fd=fd)
    return moved


def _move_up(name: str, fd: int, top: int) -> str:
    """Move the directory `name` in `fd` to `top` and return its new name. Raises OSError, for
    example if the directory is a mount point."""
    # As secrets.token_hex(), which loads OpenSSL: 4 MB in each reaper.
    new = os.urandom(8).hex()
    try:
        os.rename(name, new, src_dir_fd=fd, dst_dir_fd=top)
    except PermissionError:
        # Make the directory writable and try again: a rename to another parent changes its ".."
        # entry.
        os.chmod(name, 0o700, dir_fd=fd)
        os.rename(name, new, src_dir_fd=fd, dst_dir_fd=top)
    os.chmod(new, 0o700, dir_fd=top)
    return new
