"""Copy of a recording from the backend: resumed when the connection breaks, and checked."""

from __future__ import annotations

import hashlib
import os
import random
import re
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mythjobs.errors import MythJobsError, ProtocolError, Unreachable
from mythjobs.model.units import humanize_size
from mythjobs.mythtv.services.client import Services

if TYPE_CHECKING:
    import httpx

_METHOD: Final = "Content/GetRecording"
# The free space is checked again after this many bytes: other programs use the disk, too.
_CHECK_BYTES: Final = 256 * 2**20
_HASHED_BYTES: Final = 65536
_MIN_BACKOFF_S: Final = 0.2
_MAX_BACKOFF_S: Final = 30.0
_RANGE: Final = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+)")


class DiskFull(MythJobsError):
    """The copy would fill the disk. The job may be run again later, or elsewhere."""

    code = "disk_full"
    exit_code = os.EX_TEMPFAIL


@dataclass(frozen=True)
class FetchedFile:
    """interruptions: how often the connection broke. sha256: of the whole copy."""

    path: Path
    size_bytes: int
    sha256: str
    interruptions: int


@dataclass(frozen=True)
class FetchOptions:
    """reserve_bytes: space that stays free on the disk. give_up_s: how long no byte may arrive
    until the copy fails."""

    reserve_bytes: int = 2**30
    give_up_s: float = 600.0


class RecordingFetcher:
    """Copies one recording.

    on_progress: called with the number of copied bytes and the size of the file. on_interruption:
    called with a sentence for each break of the connection.
    """

    def __init__(
        self,
        services: Services,
        recordedid: int,
        path: Path,
        options: FetchOptions,
        *,
        on_progress: Callable[[int, int], object] = lambda done, size: None,
        on_interruption: Callable[[str], object] = lambda sentence: None,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._services = services
        self._parameters = {"RecordedId": recordedid}
        self._path = path
        self._options = options
        self._on_progress = on_progress
        self._on_interruption = on_interruption
        self._sleep = sleep
        self._done = 0
        self._size = -1
        self._checked_at = -1
        self._modified = ""
        self._digest = hashlib.sha256()
        self._interruptions = 0

    def fetch(self) -> FetchedFile:
        """Copy the file to the path; it appears there only when it is complete.

        Raises DiskFull, Unreachable if nothing arrives for too long, and the errors of Services.
        """
        temporary = self._path.with_name(self._path.name + ".part")
        try:
            # In a directory that others may write in, it may be a link of theirs.
            temporary.unlink(missing_ok=True)
            with temporary.open("xb") as file:
                self._copy(file.fileno())
                os.fsync(file.fileno())
            os.replace(temporary, self._path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        return FetchedFile(self._path, self._size, self._digest.hexdigest(), self._interruptions)

    def _copy(self, fd: int) -> None:
        last_byte_s = time.monotonic()
        backoff_s = _MIN_BACKOFF_S
        while self._done != self._size:
            before = self._done
            try:
                self._copy_once(fd)
                if self._done == self._size:
                    return
                raise Unreachable("the backend closed the connection")
            except Unreachable as error:
                if self._done > before:
                    last_byte_s, backoff_s = time.monotonic(), _MIN_BACKOFF_S
                if time.monotonic() - last_byte_s >= self._options.give_up_s:
                    raise
                self._interruptions += 1
                where = f"at byte {self._done}" if self._done else "from the start"
                self._on_interruption(f"{error.sentence}; continuing {where}")
            # Machines that lost the same backend do not return at the same instant.
            self._sleep(backoff_s * random.uniform(0.5, 1.0))
            backoff_s = min(2 * backoff_s, _MAX_BACKOFF_S)

    def _copy_once(self, fd: int) -> None:
        """Copy until the end of the response. Raises Unreachable if it breaks off."""
        response = self._services.open_stream(_METHOD, self._parameters, self._done)
        try:
            skip = self._read_head(response)
            if response.status_code == 416:
                return  # the file has no byte from this offset on
            for chunk in self._iterate(response):
                data = chunk[skip:]
                skip -= min(skip, len(chunk))
                if self._size >= 0 and self._done + len(data) > self._size:
                    raise ProtocolError("the backend sends more bytes than the file has")
                self._check_space(fd, len(data))
                _write_all(fd, data)
                self._digest.update(data)
                self._done += len(data)
                self._on_progress(self._done, self._size)
        finally:
            response.close()

    def _read_head(self, response: httpx.Response) -> int:
        """Check size and date of the file; return how many bytes to skip, because a response
        without a range begins at the start of the file."""
        found = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
        size = int(found[3]) if found else -1
        modified = response.headers.get("Last-Modified", "")
        if self._done == 0:
            self._size, self._modified = size, modified
        elif modified != self._modified or (size >= 0 and size != self._size):
            raise ProtocolError(
                f"the recording was changed while it was copied (it has {size} bytes now, "
                f"{self._size} before); copy it again when it is complete"
            )
        if found is None:
            if "Content-Length" in response.headers and self._size < 0:
                self._size = int(response.headers["Content-Length"])
            return self._done
        if found[1] and int(found[1]) != self._done:
            raise ProtocolError(f"the backend sends bytes from {found[1]}, not {self._done}")
        return 0

    def _iterate(self, response: httpx.Response) -> Iterator[bytes]:
        import httpx

        try:
            # Chunks as they arrive: with a size, httpx would drop an incomplete last one when the
            # connection breaks.
            yield from response.iter_raw()
        except httpx.TransportError as error:
            raise Unreachable(f"the connection broke ({error})") from None
        if self._size < 0:
            # Without a range the length is known only now: the last chunk has arrived.
            self._size = self._done

    def _check_space(self, fd: int, count: int) -> None:
        if self._checked_at >= 0 and self._done - self._checked_at < _CHECK_BYTES:
            return
        self._checked_at = self._done
        disk = os.fstatvfs(fd)
        free = disk.f_bavail * disk.f_frsize
        needed = max(self._size - self._done, count) + self._options.reserve_bytes
        if free < needed:
            raise DiskFull(
                f"cannot copy the recording to {self._path.parent}: "
                f"{humanize_size(self._size - self._done)} are missing and "
                f"{humanize_size(self._options.reserve_bytes)} must stay free, but only "
                f"{humanize_size(free)} are free; delete files, or use another disk"
            )


def check_copy(services: Services, path: Path, recordedid: int, file: str, group: str) -> None:
    """Compare the copy with the file on the backend. Raises ProtocolError if they differ.

    The backend hashes the size and the first and last 64 KiB. If its hash differs, the bytes
    themselves are compared, because a version may hash in another way.
    """
    expected = services.file_hash(file, group)
    if not expected or expected == compute_hash(path):
        return
    size = path.stat().st_size
    for offset in {0, max(size - _HASHED_BYTES, 0)}:
        count = min(_HASHED_BYTES, size - offset)
        found = services.read_range(_METHOD, {"RecordedId": recordedid}, offset, count)
        if found != _read_part(path, offset, count):
            raise ProtocolError(f"the copy {path} differs from the recording; copy it again")


def compute_hash(path: Path) -> str:
    """Return MythTV's hash of a file: its size plus the 64-bit numbers of its first and last
    64 KiB, in hexadecimal; "NULL" for an empty file."""
    size = path.stat().st_size
    if size == 0:
        return "NULL"
    total = size
    # A file that is shorter than 64 KiB has no last 64 KiB.
    for offset in (0, size - _HASHED_BYTES)[: 2 if size >= _HASHED_BYTES else 1]:
        part = _read_part(path, offset, min(_HASHED_BYTES, size))
        part = part[: len(part) // 8 * 8]
        total += sum(struct.unpack(f"<{len(part) // 8}Q", part))
    return f"{total & 0xFFFF_FFFF_FFFF_FFFF:x}"


def _read_part(path: Path, offset: int, count: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(count)


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    try:
        while view:
            view = view[os.write(fd, view) :]
    except OSError as error:
        raise DiskFull(f"cannot write the copy of the recording: {error.strerror}") from None
