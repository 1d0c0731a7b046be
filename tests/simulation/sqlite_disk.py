"""Disk beneath a real SQLite database: synced data survive a power cut, other data may not.

A VFS (sqlite.org/vfs.html) that passes everything to SQLite's own, but records the writes to each
file since its last sync. After a failed sync those writes stay in the file, as in the page cache of
Linux, but no later sync makes them durable.
"""

from __future__ import annotations

import ctypes
import os
import sqlite3
from collections.abc import Callable
from ctypes import CFUNCTYPE, POINTER, c_char_p, c_int, c_int64, c_void_p
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import Any, Final

_IOERR_FSYNC: Final = 10 | 4 << 8
_SECTOR_BYTES: Final = 512

# The name is passed on as the same pointer, because SQLite keeps it.
_Open = CFUNCTYPE(c_int, c_void_p, c_void_p, c_void_p, c_int, c_void_p)
_Close = CFUNCTYPE(c_int, c_void_p)
_Write = CFUNCTYPE(c_int, c_void_p, c_void_p, c_int, c_int64)
_Truncate = CFUNCTYPE(c_int, c_void_p, c_int64)
_Sync = CFUNCTYPE(c_int, c_void_p, c_int)


class _Vfs(ctypes.Structure):
    """struct sqlite3_vfs, version 3; the calls after xOpen are copied as they are."""

    _fields_ = [
        ("iVersion", c_int), ("szOsFile", c_int), ("mxPathname", c_int), ("pNext", c_void_p),
        ("zName", c_char_p), ("pAppData", c_void_p), ("xOpen", _Open), ("rest", c_void_p * 15),
    ]  # fmt: skip


class _Methods(ctypes.Structure):
    """struct sqlite3_io_methods, version 3."""

    _fields_ = [
        ("iVersion", c_int), ("xClose", _Close), ("xRead", c_void_p), ("xWrite", _Write),
        ("xTruncate", _Truncate), ("xSync", _Sync), ("rest", c_void_p * 13),
    ]  # fmt: skip


class _TrackedFile:
    """durable: the content that a power cut leaves at least. pending: writes (offset, data) and
    truncations (size, None) since the last sync."""

    def __init__(self, path: Path) -> None:
        self.durable = bytearray(path.read_bytes() if path.exists() else b"")
        self.pending: list[tuple[int, bytes | None]] = []

    def sync(self) -> None:
        for each in self.pending:
            _apply(self.durable, *each)
        self.pending.clear()

    def content_after_power_cut(self, random: Random | None) -> bytes:
        """Return durable data, and any sectors of what was written since if there is `random`."""
        content = bytearray(self.durable)
        if random is None:
            return bytes(content)
        for offset, data in self.pending:
            if data is None:
                if random.random() < 0.5:
                    _apply(content, offset, None)
                continue
            for start in range(0, len(data), _SECTOR_BYTES):
                if random.random() < 0.5:
                    _apply(content, offset + start, data[start : start + _SECTOR_BYTES])
        return bytes(content)


def _apply(content: bytearray, offset: int, data: bytes | None) -> None:
    if data is None:
        del content[offset:]
        return
    if len(content) < offset:
        content.extend(bytes(offset - len(content)))
    content[offset : offset + len(data)] = data


class SqliteDisk:
    """Records writes to the files in one directory while `is_tracking`."""

    def __init__(self) -> None:
        self._library = _load_library()
        find = self._library.sqlite3_vfs_find
        find.restype = POINTER(_Vfs)
        self._original = find(None).contents
        self._vfs = _Vfs.from_buffer_copy(self._original)
        self._vfs.zName = b"simulated disk"
        self._vfs.xOpen = _Open(self._open)
        # By the address of the sqlite3_file.
        self._paths: dict[int, Path] = {}
        self._methods: dict[int, tuple[_Methods, _Methods]] = {}  # own and original, by address
        self._original_of: dict[int, _Methods] = {}
        self._files: dict[Path, _TrackedFile] = {}
        self._directory: Path | None = None
        self._is_recording = True
        self._is_failing: Callable[[], bool] = lambda: False
        self._library.sqlite3_vfs_register(ctypes.byref(self._vfs), 1)

    def track(self, directory: Path, is_failing: Callable[[], bool]) -> None:
        """Record writes to the files in this directory from now on.

        is_failing: returns whether a sync fails now.
        """
        self._directory = directory
        self._files.clear()
        self._is_failing = is_failing
        self._is_recording = True

    def mark_synced(self, path: Path) -> None:
        """Another program, such as os.fsync, has made the content of a file durable."""
        self._files[path] = _TrackedFile(path)

    def read_contents(self) -> dict[Path, bytes]:
        """Return what a process finds that starts after the death of this one. Record nothing more
        until restore()."""
        self._is_recording = False
        return {each: each.read_bytes() for each in self._files if each.exists()}

    def cut_power(self, random: Random | None) -> dict[Path, bytes]:
        """Return what is on the disk after a power cut."""
        found = {path: file.content_after_power_cut(random) for path, file in self._files.items()}
        self._files.clear()
        return found

    def restore(self, contents: dict[Path, bytes]) -> None:
        """Put back the files, which a connection has changed when it was closed."""
        self._is_recording = True
        assert self._directory is not None
        for path in self._directory.glob("*.db-*"):
            path.unlink()
        for path, content in contents.items():
            path.write_bytes(content)
            if path not in self._files:
                self._files[path] = _TrackedFile(path)

    # Calls of SQLite.

    def _open(self, _: Any, name: int | None, file: int, flags: int, out: Any) -> int:
        result = self._original.xOpen(ctypes.addressof(self._original), name, file, flags, out)
        if result or name is None:
            return int(result)
        path = Path(os.fsdecode(ctypes.string_at(name)))
        if path.parent == self._directory:
            pointer = c_void_p.from_address(file)
            address = pointer.value
            assert address is not None
            if address not in self._methods:
                self._methods[address] = self._make_methods(address)
            own, original = self._methods[address]
            self._paths[file], self._original_of[file] = path, original
            if path not in self._files:
                self._files[path] = _TrackedFile(path)
            pointer.value = ctypes.addressof(own)
        return 0

    def _make_methods(self, address: int) -> tuple[_Methods, _Methods]:
        original = _Methods.from_address(address)
        own = _Methods.from_buffer_copy(original)
        own.xClose = _Close(self._close)
        own.xWrite = _Write(self._write)
        own.xTruncate = _Truncate(self._truncate)
        own.xSync = _Sync(self._sync)
        return own, original

    def _find(self, file: int) -> _TrackedFile | None:
        return self._files.get(self._paths[file]) if self._is_recording else None

    def _close(self, file: int) -> int:
        self._paths.pop(file, None)
        return int(self._original_of.pop(file).xClose(file))

    def _write(self, file: int, data: int, size: int, offset: int) -> int:
        if (tracked := self._find(file)) is not None:
            tracked.pending.append((offset, ctypes.string_at(data, size)))
        return int(self._original_of[file].xWrite(file, data, size, offset))

    def _truncate(self, file: int, size: int) -> int:
        if (tracked := self._find(file)) is not None:
            tracked.pending.append((size, None))
        return int(self._original_of[file].xTruncate(file, size))

    def _sync(self, file: int, _: int) -> int:
        tracked = self._find(file)
        if tracked is None:
            return 0
        if self._is_failing():
            tracked.pending.clear()
            return _IOERR_FSYNC
        tracked.sync()
        return 0


@lru_cache(maxsize=1)
def sqlite_disk() -> SqliteDisk:
    """Return the one disk of this process: a VFS stays registered."""
    return SqliteDisk()


def _load_library() -> Any:
    """Return the library that the module sqlite3 uses. Raises OSError if it is not a shared one."""
    assert sqlite3.sqlite_version  # imported, so the library is loaded
    with open("/proc/self/maps", encoding="utf-8") as maps:
        paths = {line.split()[-1] for line in maps if "libsqlite3" in line}
    if not paths:
        raise OSError("the module sqlite3 has SQLite built in")
    return ctypes.CDLL(paths.pop())
