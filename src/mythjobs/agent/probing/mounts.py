"""File systems of this machine that have files of users, from /proc/self/mountinfo."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from mythjobs.agent.measurement.disks import DiskMap
from mythjobs.model.mountinfo import parse_mountinfo
from mythjobs.protocol.scaling import Mount

_NETWORK_TYPES: Final = frozenset({
    "nfs", "nfs4", "cifs", "smb3", "9p", "virtiofs", "ceph", "glusterfs", "afs", "lustre",
})  # fmt: skip
_NO_FILES: Final = frozenset({"squashfs", "fuse.portal", "fuse.gvfsd-fuse", "fuse.lxcfs"})
_SYSTEM: Final = ("/boot", "/snap", "/proc", "/sys", "/dev", "/run", "/etc", "/usr/lib")
_MAX_MOUNTS: Final = 50


def find_mounts(mountinfo: Path = Path("/proc/self/mountinfo")) -> list[Mount]:
    """Return the mounts in order of their paths. Does not access the file systems themselves."""
    try:
        content = mountinfo.read_bytes()
    except OSError:
        return []
    disks = DiskMap(mountinfo=mountinfo)
    found = {}
    for mount in parse_mountinfo(content):
        if _has_files(mount.point, mount.kind, mount.source):
            # Messages are JSON, which has no bytes that are not UTF-8.
            path, source = _replace_invalid(mount.point), _replace_invalid(mount.source)
            found[path] = Mount(path, mount.kind, source, disks.find(mount.device) or "")
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


def _replace_invalid(text: str) -> str:
    return os.fsencode(text).decode("utf-8", "replace")
