"""Removing a directory that a program had for itself, however it left it."""

from __future__ import annotations

import os
import secrets
import stat
from contextlib import suppress
from typing import Final

_OPEN: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove_tree(path: str) -> bool:
    """Removes it as far as that can be done; whether it is gone.

    It may be deeper than a path may be long, and than Python may recurse: each directory in it
    is moved to its top before it is entered. What forbids to enter or change it is opened up.
    No link is followed, and no other file system entered that somebody mounted in it.
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
        waiting = _empty(top, top)
        while waiting:
            waiting += _remove(waiting.pop(), top)
        os.rmdir(path)
    except OSError as error:
        return isinstance(error, FileNotFoundError)
    finally:
        os.close(top)
    return True


def _remove(name: str, top: int) -> list[str]:
    """A directory in `top`; what was in it and is there now."""
    found: list[str] = []
    with suppress(OSError):
        fd = os.open(name, _OPEN, dir_fd=top)
        try:
            found = _empty(fd, top)
        finally:
            os.close(fd)
        os.rmdir(name, dir_fd=top)
    return found


def _empty(fd: int, top: int) -> list[str]:
    """Removes the files; the names under which the directories are in `top` now."""
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
    """Where something is mounted that fails, before anything of that is touched. Raises OSError."""
    new = secrets.token_hex(8)
    try:
        os.rename(name, new, src_dir_fd=fd, dst_dir_fd=top)
    except PermissionError:
        # Another parent is written into the directory itself (rename(2)).
        os.chmod(name, 0o700, dir_fd=fd)
        os.rename(name, new, src_dir_fd=fd, dst_dir_fd=top)
    os.chmod(new, 0o700, dir_fd=top)
    return new
