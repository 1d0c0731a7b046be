"""Reads of a watched directory: its files, whether they are still written, its file system."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from stat import S_ISREG
from typing import Final

from mythjobs.watch.file_tracker import FileState

# Names of files that programs write before they rename them.
_UNFINISHED: Final = (
    ".*", "*~", "*.part", "*.partial", "*.tmp", "*.temp", "*.crdownload", "*.download", "*.!qb",
    "*.filepart", "*.mythjobs-*",
)  # fmt: skip
# Errors of a directory below: it was removed, is not ours to read, or has too long a path.
LEFT_OUT: Final = (errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG)
# File systems whose changes on other machines inotify does not see (statfs(2), linux/magic.h).
_REMOTE: Final = {
    0x6969: "nfs", 0x517B: "smb", 0xFF534D42: "cifs", 0xFE534D42: "smb2", 0x65735546: "fuse",
    0x01021997: "9p", 0x00C36400: "ceph", 0x5346414F: "afs", 0x73757245: "coda",
}  # fmt: skip


@dataclass(frozen=True)
class FileFilter:
    """patterns: a file's name, or its path below the directory, matches one of them (none: all);
    excluded: and none of these."""

    patterns: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()
    is_recursive: bool = False

    def accepts(self, relative: str) -> bool:
        name = relative.rpartition("/")[2]
        if _matches(name, relative, _UNFINISHED) or _matches(name, relative, self.excluded):
            return False
        return not self.patterns or _matches(name, relative, self.patterns)


def scan_files(
    directory: str, accepted: FileFilter, *, has_inodes: bool = True
) -> dict[str, FileState]:
    """Return the regular files in a directory with their states, by absolute path.

    Symbolic links are left out: whoever may write into the directory could name any file by one. So
    are directories below it that cannot be read.
    has_inodes: false if inode numbers may change at each mount, as in some network file systems;
    the states then have 0. Raises OSError if the directory cannot be read.
    """
    found = {}
    for entry in _iterate(directory, accepted.is_recursive):
        if entry.is_dir(follow_symlinks=False):
            continue
        relative = os.path.relpath(entry.path, directory)
        if accepted.accepts(relative):
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            except OSError as error:
                # A directory below that may be listed, but not entered, or has too long a path.
                if os.path.dirname(entry.path) == directory or error.errno not in LEFT_OUT:
                    raise
                continue
            if S_ISREG(status.st_mode):
                inode = status.st_ino if has_inodes else 0
                found[entry.path] = FileState(status.st_size, status.st_mtime_ns, inode)
    return found


def walk_directories(directory: str) -> Iterator[str]:
    """Yield a directory and all directories below it. Each is read only after it was yielded: if
    the caller watches it first, it is notified of the directories that are too new to be found."""
    yield directory
    with suppress(OSError):
        for entry in _iterate(directory, True):
            if entry.is_dir(follow_symlinks=False):
                yield entry.path


def is_being_written(path: str) -> bool:
    """Return whether a program of this machine has the file open for writing, as far as the kernel
    tells: a read lease is refused then (fcntl(2), F_SETLEASE)."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        return False
    except BlockingIOError:
        return True
    except OSError:
        return False  # another owner's file, or a file system without leases
    finally:
        os.close(fd)


def find_remote_file_system(path: str) -> str:
    """Return the kind of a network file system, like `nfs`; "" for a local one.

    Raises OSError if the path does not exist.
    """
    # struct statfs begins with f_type, a long; 256 bytes are more than the whole.
    buffer = ctypes.create_string_buffer(256)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.statfs(os.fsencode(path), buffer) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)
    kind = ctypes.c_long.from_buffer(buffer).value & 0xFFFFFFFF
    return _REMOTE.get(kind, "")


def _iterate(directory: str, is_recursive: bool) -> Iterator[os.DirEntry[str]]:
    """Yield files and directories; below other directories, without hidden ones.

    Not recursive, because whoever may write in the directory decides how deep it is. Raises
    OSError if the directory cannot be read, or for errors below it that are not LEFT_OUT.
    """
    waiting = [directory]
    while waiting:
        here = waiting.pop()
        try:
            with os.scandir(here) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        if not is_recursive or entry.name.startswith("."):
                            continue
                        waiting.append(entry.path)
                    yield entry
        except OSError as error:
            if here == directory or error.errno not in LEFT_OUT:
                raise


def _matches(name: str, relative: str, patterns: Sequence[str]) -> bool:
    # Case is ignored: cameras and Windows write .MP4.
    lower = (name.lower(), relative.lower())
    return any(fnmatchcase(each, pattern.lower()) for pattern in patterns for each in lower)
