"""FUSE file system that logs the order of writes, syncs and names, for power cuts in tests.

`python -m tests.support.recording_disk MOUNTPOINT LOG`. Extended attributes of its
root are commands: `user.mark` writes a text to the log; `user.fail_sync` = "N NAME" lets the N-th
sync from now of a path that contains NAME fail once with EIO, as a disk does.
"""

from __future__ import annotations

import errno
import os
import pickle
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final

import pytest

ROOT: Final = 1
MARK, FAIL_SYNC = "user.mark", "user.fail_sync"

# Records of the log; N and DIR are inode numbers.
#   new N MODE · write N OFFSET BYTES · size N BYTES · sync N · failed N (a sync, with EIO)
#   link DIR NAME N · unlink DIR NAME · rename DIR OLD NEW · mark TEXT
Record = tuple[Any, ...]


class _File:
    def __init__(self, mode: int) -> None:
        self.mode = mode
        self.data = bytearray()
        self.names: dict[str, int] = {}
        self.links = 0
        self.made_ns = time.time_ns()


class RecordingDisk:
    """Operations of libfuse's high-level API (fuse.h), by path and inode number."""

    use_ns = True

    def __init__(self, log: BinaryIO) -> None:
        self._log = log
        self._files = {ROOT: _File(stat.S_IFDIR | 0o700)}
        self._paths: dict[int, str] = {}
        self._next = ROOT + 1
        self._fail_in = 0
        self._fail_name = ""

    def __call__(self, operation: str, *args: Any) -> Any:
        method = getattr(self, operation, None)
        if method is None:
            raise OSError(errno.ENOSYS, operation)
        return method(*args)

    def _record(self, *record: Any) -> None:
        pickle.dump(record, self._log)
        self._log.flush()

    def _find_inode(self, path: str) -> int:
        number = ROOT
        for name in path.split("/"):
            if name:
                try:
                    number = self._files[number].names[name]
                except KeyError:
                    raise OSError(errno.ENOENT, path) from None
        return number

    def _split_path(self, path: str) -> tuple[int, str]:
        parent, _, name = path.rpartition("/")
        return self._find_inode(parent), name

    def _link_name(self, path: str, number: int) -> None:
        parent, name = self._split_path(path)
        if name in self._files[parent].names:
            raise OSError(errno.EEXIST, path)
        self._files[parent].names[name] = number
        self._files[number].links += 1
        self._paths[number] = path
        self._record("link", parent, name, number)

    def _create_inode(self, path: str, mode: int) -> int:
        number = self._next
        self._next += 1
        self._files[number] = _File(mode)
        self._record("new", number, mode)
        self._link_name(path, number)
        return number

    def getattr(self, path: str | None, number: int | None = None) -> dict[str, Any]:
        number = self._find_inode(path or "/") if number is None else number
        file = self._files[number]
        is_directory = stat.S_ISDIR(file.mode)
        at = file.made_ns
        return {
            "st_ino": number, "st_mode": file.mode, "st_size": len(file.data),
            "st_nlink": 2 if is_directory else file.links, "st_uid": os.getuid(),
            "st_gid": os.getgid(), "st_blocks": -(-len(file.data) // 512),
            "st_atime": at, "st_mtime": at, "st_ctime": at,
        }  # fmt: skip

    def readdir(self, path: str, _number: int) -> list[str]:
        return [".", "..", *self._files[self._find_inode(path)].names]

    def mkdir(self, path: str, mode: int) -> None:
        self._create_inode(path, stat.S_IFDIR | mode)

    def mknod(self, path: str, mode: int, _device: int) -> None:
        self._create_inode(path, mode)

    def create(self, path: str, mode: int, _info: Any = None) -> int:
        return self._create_inode(path, stat.S_IFREG | mode)

    def open(self, path: str, flags: int) -> int:
        number = self._find_inode(path)
        if flags & os.O_TRUNC:
            self.truncate(path, 0, number)
        return number

    def opendir(self, path: str) -> int:
        return self._find_inode(path)

    def link(self, target: str, source: str) -> None:
        self._link_name(target, self._find_inode(source))

    def unlink(self, path: str) -> None:
        parent, name = self._split_path(path)
        number = self._find_inode(path)
        del self._files[parent].names[name]
        self._files[number].links -= 1
        self._record("unlink", parent, name)

    def rmdir(self, path: str) -> None:
        if self._files[self._find_inode(path)].names:
            raise OSError(errno.ENOTEMPTY, path)
        self.unlink(path)

    def rename(self, old: str, new: str) -> None:
        (parent, name), (into, new_name) = self._split_path(old), self._split_path(new)
        if parent != into:
            raise OSError(errno.EXDEV, new)
        names = self._files[parent].names
        number = names.pop(name)
        if new_name in names:
            self._files[names[new_name]].links -= 1
        names[new_name] = number
        self._paths[number] = new
        self._record("rename", parent, name, new_name)

    def read(self, _path: str, size: int, offset: int, number: int) -> bytes:
        return bytes(self._files[number].data[offset : offset + size])

    def write(self, _path: str, data: bytes, offset: int, number: int) -> int:
        content = self._files[number].data
        if len(content) < offset:
            content.extend(bytes(offset - len(content)))
        content[offset : offset + len(data)] = data
        self._record("write", number, offset, bytes(data))
        return len(data)

    def truncate(self, path: str, length: int, number: int | None = None) -> None:
        number = self._find_inode(path) if number is None else number
        content = self._files[number].data
        del content[length:]
        content.extend(bytes(length - len(content)))
        self._record("size", number, length)

    def fallocate(self, path: str, _mode: int, offset: int, size: int, number: int) -> None:
        if offset + size > len(self._files[number].data):
            self.truncate(path, offset + size, number)

    def fsync(self, _path: str, _only_data: int, number: int) -> None:
        if self._fail_in and self._fail_name in self._paths.get(number, ""):
            self._fail_in -= 1
            if not self._fail_in:
                self._record("failed", number)
                raise OSError(errno.EIO, "the disk failed")
        self._record("sync", number)

    fsyncdir = fsync

    def setxattr(self, _path: str, name: str, value: bytes, _options: int, _at: int = 0) -> None:
        if name == MARK:
            self._record("mark", bytes(value).decode())
        elif name == FAIL_SYNC:
            count, _, self._fail_name = bytes(value).decode().partition(" ")
            self._fail_in = int(count)
        else:
            raise OSError(errno.ENOTSUP, name)

    def chmod(self, path: str, mode: int) -> None:
        file = self._files[self._find_inode(path)]
        file.mode = stat.S_IFMT(file.mode) | stat.S_IMODE(mode)

    def utimens(self, _path: str, _times: Any = None) -> None:
        pass

    def flush(self, _path: str, _number: int) -> None:
        pass

    release = releasedir = flush

    def statfs(self, _path: str) -> dict[str, int]:
        counts = ("f_blocks", "f_bfree", "f_bavail", "f_files", "f_ffree")
        return {"f_bsize": 4096, "f_frsize": 4096, "f_namemax": 255} | dict.fromkeys(
            counts, 1 << 20
        )

    def init(self, _path: str) -> None:
        self._record("mark", "mounted")

    destroy = init


def serve(mountpoint: str, log: str) -> None:
    from mfusepy import FUSE  # type: ignore[import-untyped]  # it loads a library of the system's

    with open(log, "wb") as file:
        # Single-threaded, so that the log has the order of the operations.
        FUSE(
            RecordingDisk(file), mountpoint, foreground=True, nothreads=True,
            use_ino=True, hard_remove=True, fsname="powerdisk",
        )  # fmt: skip


class MountedDisk:
    """Handle of a mounted RecordingDisk."""

    def __init__(self, path: Path, log: Path) -> None:
        self.path = path
        self._log = log

    def mark(self, text: str) -> None:
        os.setxattr(self.path, MARK, text.encode())

    def fail_sync(self, number: int, name: str = "") -> None:
        """Let the `number`-th sync from now of a path that contains `name` fail; 0: none."""
        os.setxattr(self.path, FAIL_SYNC, f"{number} {name}".encode())

    def read_records(self) -> list[Record]:
        found: list[Record] = []
        with self._log.open("rb") as file:
            while True:
                try:
                    found.append(pickle.load(file))
                except (EOFError, pickle.UnpicklingError):
                    # The last record may still be being written: its operation is not done.
                    return found


@contextmanager
def mount_recording_disk(directory: Path) -> Iterator[MountedDisk]:
    """Mount a RecordingDisk in the directory; skip the test if that is not possible."""
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        pytest.skip("/dev/fuse cannot be opened")
    path, log = directory / "disk", directory / "disk.log"
    path.mkdir()
    argv = [sys.executable, "-m", "tests.support.recording_disk", str(path), str(log)]
    root = Path(__file__).parents[2]
    with subprocess.Popen(argv, cwd=root, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        try:
            while not os.path.ismount(path):
                if server.poll() is not None:
                    pytest.skip(f"cannot mount a file system: {server.stderr.read()}")
                time.sleep(0.01)
            yield MountedDisk(path, log)
        finally:
            subprocess.run(["umount", "--lazy", path], capture_output=True)
            if os.path.ismount(path):
                subprocess.run(["fusermount3", "-uz", path], check=True)
            server.kill()  # processes that still use the disk get an error instead of hanging


if __name__ == "__main__":
    serve(*sys.argv[1:])
