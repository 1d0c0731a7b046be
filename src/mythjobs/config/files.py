"""Atomic writes of small files: temporary file, fsync, then rename or link."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def replace_file(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Replace a file atomically: even after a power cut it has the old or the new content."""
    temporary = write_temporary(path, data, mode)
    try:
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    sync_directory(path.parent)


def create_once(path: Path, data: bytes, mode: int = 0o600) -> bytes:
    """Create the file unless it exists. Return its content, which another process may have
    written at the same time."""
    temporary = write_temporary(path, data, mode)
    try:
        os.link(temporary, path)
    except FileExistsError:
        return path.read_bytes()
    finally:
        os.unlink(temporary)
    sync_directory(path.parent)
    return data


def open_private(path: str, flags: int) -> int:
    """Opener for open() that creates a file only its owner can read."""
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


def sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_temporary(path: Path, data: bytes, mode: int = 0o600) -> str:
    """Write and fsync a temporary file in the same directory, and return its path. Raises OSError,
    which names `path`."""
    temporary = f"{path}.{secrets.token_hex(4)}"
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        try:
            with os.fdopen(fd, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(fd)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as error:
        error.filename = str(path)  # write(2) and fsync(2) name no file
        raise
    return temporary
