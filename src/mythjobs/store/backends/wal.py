"""Write-ahead log of a SQLite store: its content after a crash, its used length, spare space."""

from __future__ import annotations

import errno
import os
import struct
from pathlib import Path
from typing import Final

from mythjobs.errors import StoreFailed

_CHUNK_BYTES: Final = 2**20
# The log gets _SPARE_BYTES more when less than _LEAST_SPARE_BYTES are left: 1 or 2 turns of 250
# jobs, or 20 jobs one by one.
_SPARE_BYTES: Final = 2**20
_LEAST_SPARE_BYTES: Final = 2**18
# Start of the WAL index (file store.db-shm): version, 10 bytes that do not matter here, page size
# and number of frames in the log (https://sqlite.org/walformat.html, in the byte order of the
# machine). All versions of SQLite share it with each other, so its format is stable.
_INDEX_HEADER: Final = struct.Struct("=I10xHI")
_INDEX_VERSION: Final = 3007000
_LOG_HEADER_BYTES: Final = 32
_FRAME_HEADER_BYTES: Final = 24


class WriteAheadLog:
    """The log's file. Only the store's writing thread may call the methods."""

    def __init__(self, database: Path, max_bytes: int) -> None:
        """max_bytes: the log gets no spare space beyond this length."""
        self._path = Path(f"{database}-wal")
        self._index_path = f"{database}-shm"
        self._index: int | None = None
        self._max_bytes = max_bytes
        self._file_bytes = 0

    def read_file_bytes(self) -> int:
        try:
            return os.stat(self._path).st_size
        except OSError:
            return 0

    def rewrite(self) -> None:
        """Write the log again, in place, and sync it. Raises StoreFailed.

        After a failed fsync the page cache may mark log pages as clean that are not on the disk
        (fsync(2)). A later fsync does not write such pages, and a power failure loses them.
        """
        try:
            with open(self._path, "r+b", buffering=0) as log:
                while data := log.read(_CHUNK_BYTES):
                    log.seek(-len(data), os.SEEK_CUR)
                    left = memoryview(data)
                    while left:
                        left = left[log.write(left) :]
                os.fsync(log.fileno())
        except OSError as error:
            self._raise_unless_full(error)

    def close_index(self) -> None:
        """Close the WAL index. Call it after all connections of this process were closed.

        Otherwise it would release their locks on that file (fcntl(2), POSIX record locks).
        """
        if self._index is not None:
            os.close(self._index)
            self._index = None

    def read_used_bytes(self) -> int:
        """Return the length of the part of the log in use, which may be shorter than the file.

        Call it after a transaction of a connection that is still open: then the WAL index exists.
        """
        try:
            if self._index is None:
                self._index = os.open(self._index_path, os.O_RDONLY | os.O_CLOEXEC)
            header = _INDEX_HEADER.unpack(os.pread(self._index, _INDEX_HEADER.size, 0))
        except (OSError, struct.error):
            return self.read_file_bytes()
        version, page_bytes, frames = header
        if version != _INDEX_VERSION:
            return self.read_file_bytes()
        return int(_LOG_HEADER_BYTES + frames * (_FRAME_HEADER_BYTES + page_bytes))

    def extend(self, used_bytes: int) -> None:
        """Append zeros if the log has little space behind its used part, and sync them.

        Raises StoreFailed. A full disk, or too many open files, only leave the log as it is.

        A commit that overwrites a file syncs in 130 µs; one that makes the file longer in 240 µs
        (ext4), because the file's new length has to be written as well. SQLite reads the log
        only up to the first frame that is not valid.
        """
        if self._file_bytes >= min(used_bytes + _LEAST_SPARE_BYTES, self._max_bytes):
            return
        self._file_bytes = self.read_file_bytes()
        if self._file_bytes >= min(used_bytes + _LEAST_SPARE_BYTES, self._max_bytes):
            return
        try:
            with open(self._path, "r+b", buffering=0) as log:
                self._file_bytes += os.pwrite(log.fileno(), bytes(_SPARE_BYTES), self._file_bytes)
                os.fdatasync(log.fileno())
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                return
            self._file_bytes = self._max_bytes  # try no more
            self._raise_unless_full(error)

    def _raise_unless_full(self, error: OSError) -> None:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise StoreFailed(
                f"cannot write {self._path}: {error.strerror}. "
                "Check or replace the disk, then start the master again"
            ) from error
