"""File systems of this machine that have files of users, from /proc/self/mountinfo."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from mythjobs.agent.measurement.disks import DiskMap
from mythjobs.protocol.scaling import Mount

_NETWORK_TYPES: Final = frozenset({
    "nfs", "nfs4", "cifs", "smb3", "9p", "virtiofs", "ceph", "glusterfs", "afs", "lustre",
})  # fmt: skip
_NO_FILES: Final = frozenset({"squashfs", "fuse.portal", "fuse.gvfsd-fuse", "fuse.lxcfs"})
_SYSTEM: Final = ("/boot", "/snap", "/proc", "/sys", "/dev", "/run", "/etc", "/usr/lib")
_OCTAL: Final = re.compile(r"\\([0-7]{3})")
_MAX_MOUNTS: Final = 50


def find_mounts(mountinfo: Path = Path("/proc/self/mountinfo")) -> list[Mount]:
    """Return the mounts in order of their paths. Does not access the file systems themselves."""
    try:
        text = mountinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    disks = DiskMap(mountinfo=mountinfo)
    found = {}
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        fields, kind = before.split(), after.split()
        if len(fields) < 5 or len(kind) < 2:
            continue
        path, source = _unescape(fields[4]), _unescape(kind[1])
        if _has_files(path, kind[0], source):
            major, _, minor = fields[2].partition(":")
            disk = disks.find_by_numbers(int(major), int(minor)) or ""
            found[path] = Mount(path, kind[0], source, disk)
    return [found[path] for path in sorted(found)][:_MAX_MOUNTS]


def _has_files(path: str, kind: str, source: str) -> bool:
    if path == "/":
        return True
    if kind in _NO_FILES or path.startswith(tuple(f"{each}/" for each in _SYSTEM)):
        return False
    if path in _SYSTEM:
        return False
    is_local = source.startswith("/dev/") or kind in ("zfs", "btrfs")
    return is_local or kind in _NETWORK_TYPES or kind.startswith("fuse.")


def _unescape(text: str) -> str:
    """Return a field of mountinfo with its spaces, which the kernel writes as \\040."""
    return _OCTAL.sub(lambda found: chr(int(found[1], 8)), text)
