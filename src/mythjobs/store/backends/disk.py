"""Disk of a SQLite store: type of its file system, mode of its files, and a reserve file for a full
disk."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from mythjobs.model.mountinfo import find_mount

# Size of the reserve file of a store; twice as much must be free to create it.
RESERVE_BYTES: Final = 8 * 2**20
# Types of network file systems. SQLite's manual warns that their locks and fsync may not work.
_NETWORK_TYPES: Final = frozenset(
    ("9p", "afs", "ceph", "cifs", "coda", "glusterfs", "lustre", "nfs", "nfs4", "smb3", "smbfs")
)


def find_network_file_system(
    directory: Path, mountinfo: Path = Path("/proc/self/mountinfo")
) -> str:
    """Return the type of the network or FUSE file system that holds a directory, or ""."""
    try:
        device = os.stat(directory).st_dev
        mount = find_mount(mountinfo.read_bytes(), device)
    except OSError:
        return ""
    kind = mount.kind if mount else ""
    return kind if kind in _NETWORK_TYPES or kind.split(".")[0] == "fuse" else ""


def make_private(database: Path) -> None:
    """Create the file of a database unless it exists, and let only its owner access it.

    SQLite would create it with the mode that the umask leaves, and gives its log and its index the
    mode of the database. The store has arguments of jobs, and heartbeat URLs. Errors are ignored:
    SQLite reports a file that it cannot use, and the state directory keeps other users out.
    """
    with suppress(OSError):
        # Only to create it: closing a descriptor of an open database would release the locks of
        # this process on it (fcntl(2)).
        os.close(os.open(database, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    for suffix in ("", "-wal", "-shm"):
        path = f"{database}{suffix}"
        with suppress(OSError):
            if os.stat(path).st_mode & 0o077:
                os.chmod(path, 0o600)


class DiskReserve:
    """Reserve file of `size` bytes: deleted when the disk is full, so that running jobs can end."""

    def __init__(self, path: Path, size: int) -> None:
        self._path = path
        self._size = size

    def allocate(self) -> bool:
        """Create the reserve file unless it exists; return whether it exists in full size."""
        try:
            # Twice the size must be free, so that the reserve itself does not fill the disk.
            if not self._exists() and self._free_bytes() < 2 * self._size:
                return False
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            return False
        try:
            # Allocate blocks, because a sparse file reserves no space.
            os.posix_fallocate(fd, 0, self._size)
        except OSError:
            self.release()
            return False
        finally:
            os.close(fd)
        return True

    def _exists(self) -> bool:
        return self._path.exists() and self._path.stat().st_size == self._size

    def _free_bytes(self) -> int:
        disk = os.statvfs(self._path.parent)
        return disk.f_bavail * disk.f_frsize

    def release(self) -> bool:
        """Delete the reserve file; return whether that freed space."""
        try:
            self._path.unlink()
        except FileNotFoundError:
            return False
        return True
