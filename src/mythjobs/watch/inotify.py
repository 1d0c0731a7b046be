"""Notifications of changes in directories: inotify(7) through ctypes.

The standard library has no inotify, and the three system calls need no library of their own.
"""

from __future__ import annotations

import ctypes
import os
import struct
from typing import Final

_CREATE: Final = 0x100
_ATTRIB: Final = 0x4
_MODIFY: Final = 0x2
_CLOSE_WRITE: Final = 0x8
_MOVED: Final = 0x40 | 0x80
_DELETE: Final = 0x200
_MOVE_SELF: Final = 0x800
_ONLYDIR: Final = 0x01000000
_DONT_FOLLOW: Final = 0x02000000
_Q_OVERFLOW: Final = 0x4000
_IGNORED: Final = 0x8000
_ISDIR: Final = 0x40000000
_MASK: Final = _CREATE | _MODIFY | _CLOSE_WRITE | _MOVED | _DELETE | _MOVE_SELF | _ATTRIB
_EVENT: Final = struct.Struct("iIII")
_BUFFER: Final = 64 * 1024


class DirectoryNotifier:
    """Watches of directories. `fd` is readable when something has changed. Raises OSError, with
    ENOSPC if the user has no more watches (fs.inotify.max_user_watches)."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self.fd = self._libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        if self.fd < 0:
            raise _last_error("inotify_init1")
        self._directories: dict[int, str] = {}

    def add(self, directory: str) -> bool:
        """Watch the directory that has this name now; return whether it was not watched yet. A
        directory that is gone already is left out."""
        watch = self._libc.inotify_add_watch(
            self.fd, os.fsencode(directory), _MASK | _ONLYDIR | _DONT_FOLLOW
        )
        if watch >= 0:
            # The kernel knows a directory by its inode, and numbers no two watches alike.
            is_new = watch not in self._directories
            self._directories[watch] = directory
            return is_new
        error = _last_error(directory)
        if not isinstance(error, FileNotFoundError | NotADirectoryError):
            raise error
        return False

    def read_changed(self) -> tuple[set[str], set[str], bool]:
        """Return the directories in which something changed, directories that appeared in them or
        can perhaps be read now, and whether events were lost, so that everything may have
        changed."""
        changed, appeared, is_lost = set[str](), set[str](), False
        watched: set[str] | None = None
        while True:
            try:
                data = os.read(self.fd, _BUFFER)
            except BlockingIOError:
                return changed, appeared, is_lost
            at = 0
            while at < len(data):
                watch, mask, _, length = _EVENT.unpack_from(data, at)
                name = data[at + _EVENT.size : at + _EVENT.size + length].rstrip(b"\0")
                at += _EVENT.size + length
                if mask & _Q_OVERFLOW:
                    is_lost = True
                directory = self._directories.get(watch)
                if mask & _IGNORED:
                    self._directories.pop(watch, None)
                if directory is None:
                    continue
                changed.add(directory)
                if not mask & _ISDIR or not name:
                    continue
                path = os.path.join(directory, os.fsdecode(name))
                if mask & (_CREATE | _MOVED):
                    appeared.add(path)
                elif mask & _ATTRIB:
                    # Its mode may have changed; such events of watched ones are frequent.
                    watched = set(self._directories.values()) if watched is None else watched
                    if path not in watched:
                        appeared.add(path)

    def close(self) -> None:
        os.close(self.fd)


def _last_error(what: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number), what)
