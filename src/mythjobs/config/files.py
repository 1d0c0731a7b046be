"""Small files that must be whole or absent: written aside, fsynced, then put in place."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def replace_file(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Put a new content in place; readers and a power cut see the old or the new one, whole."""
    aside = write_temporary(path, data, mode)
    try:
        os.replace(aside, path)
    except BaseException:
        os.unlink(aside)
        raise
    sync_directory(path.parent)


def create_once(path: Path, data: bytes, mode: int = 0o600) -> bytes:
    """The file's content: `data` if there was none, else what another has put there first."""
    aside = write_temporary(path, data, mode)
    try:
        os.link(aside, path)
    except FileExistsError:
        return path.read_bytes()
    finally:
        os.unlink(aside)
    sync_directory(path.parent)
    return data


def sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_temporary(path: Path, data: bytes, mode: int = 0o600) -> str:
    """A durable file beside it with this content; its path."""
    aside = f"{path}.{secrets.token_hex(4)}"
    fd = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(fd)
    except BaseException:
        os.unlink(aside)
        raise
    return aside
