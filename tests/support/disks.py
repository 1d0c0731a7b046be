"""Small disk for tests of full disks."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def mount_small_disk(directory: Path) -> Iterator[Path]:
    """Mount a file system of 2 MiB in the directory; skip the test if that is not possible."""
    path = directory / "disk"
    path.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", path], capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip(f"cannot mount a small disk: {done.stderr.strip()}")
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", path], check=True)


def fill_disk(disk: Path) -> Path:
    """Fill the free space with one file, and return its path."""
    ballast = disk / "ballast"
    with ballast.open("ab", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            pass
    return ballast


class HangingDisk:
    """A disk whose writes hang while it is frozen, as those of a network disk without its server.

    The writers are then in uninterruptible sleep: SIGKILL does not end them.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def freeze(self) -> None:
        subprocess.run(["fsfreeze", "--freeze", self.path], check=True)

    def thaw(self) -> None:
        subprocess.run(["fsfreeze", "--unfreeze", self.path], check=True)


@contextmanager
def mount_hanging_disk(directory: Path) -> Iterator[HangingDisk]:
    """A disk of 16 MiB in the directory; the test is skipped where none can be mounted."""
    image, path = directory / "image", directory / "disk"
    path.mkdir()
    with image.open("wb") as file:
        file.truncate(16 * 2**20)
    for command in (
        ["mkfs.ext4", "-q", str(image)],
        ["mount", "-o", "loop", str(image), str(path)],
    ):
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            pytest.skip(f"{command[0]} is not installed")
        if done.returncode:
            pytest.skip(f"a disk that can hang cannot be mounted here: {done.stderr.strip()}")
    disk = HangingDisk(path)
    try:
        yield disk
    finally:
        subprocess.run(["fsfreeze", "--unfreeze", path], capture_output=True, check=False)
        subprocess.run(["umount", "--lazy", path], check=True)
