"""Mounts of a machine, parsed from the content of /proc/pid/mountinfo (proc(5))."""

from __future__ import annotations

import os
from typing import Final, NamedTuple

# Characters that the kernel writes as octal numbers. The backslash is last: it begins the others.
_ESCAPES: Final = (
    ("\\040", " "),
    ("\\011", "\t"),
    ("\\012", "\n"),
    ("\\043", "#"),
    ("\\134", "\\"),
)


class MountEntry(NamedTuple):
    """A mount: the directory `root` of a file system is mounted on `point`.

    mount_id: as in /proc/pid/fdinfo. device: `st_dev` of its files (except in subvolumes of btrfs,
    which have numbers of their own). kind: type of the file system, such as "ext4". source: the
    mounted device or share; may be empty. options: those of the file system, separated by commas.
    """

    mount_id: int
    device: int
    root: str
    point: str
    kind: str
    source: str
    options: str


def parse_mountinfo(content: bytes) -> list[MountEntry]:
    """Return the mounts in the file's order; lines of another form are left out."""
    # Only a blank and a newline separate: `str.split()` would also divide a path at a no-break
    # space, and `splitlines()` at a form feed, which the kernel does not escape.
    entries = (_parse_line(os.fsdecode(line)) for line in content.split(b"\n"))
    return [entry for entry in entries if entry is not None]


def find_mount(content: bytes, device: int) -> MountEntry | None:
    """Return the first mount of the file system with this `st_dev`; None if it is not mounted."""
    return next((each for each in parse_mountinfo(content) if each.device == device), None)


def _parse_line(line: str) -> MountEntry | None:
    before, _, after = line.partition(" - ")
    try:
        number, _, device, root, point, *_ = before.split(" ")
        kind, source, options = after.split(" ", 2)
        major, minor = device.split(":")
        mount_id, device_number = int(number), os.makedev(int(major), int(minor))
    except ValueError:
        return None
    return MountEntry(
        mount_id,
        device_number,
        _unescape(root),
        _unescape(point),
        kind,
        _unescape(source),
        _unescape(options),
    )


def _unescape(text: str) -> str:
    if "\\" in text:
        for escape, character in _ESCAPES:
            text = text.replace(escape, character)
    return text
