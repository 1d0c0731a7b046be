"""Whether a directory is on a disk that keeps what it says it has kept."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

# Locks and fsync of these are somebody else's word; SQLite's manual warns of them.
_REMOTE: Final = frozenset(
    ("9p", "afs", "ceph", "cifs", "coda", "glusterfs", "lustre", "nfs", "nfs4", "smb3", "smbfs")
)


def network_file_system(directory: Path, mountinfo: Path = Path("/proc/self/mountinfo")) -> str:
    """The kind of network (or FUSE) file system that a directory is on; empty if it is on none.

    Source: proc(5), /proc/pid/mountinfo: the third field is the device, the first behind the
    single dash the kind.
    """
    try:
        device = os.stat(directory).st_dev
        lines = mountinfo.read_bytes().splitlines()
    except OSError:
        return ""
    number = b"%d:%d" % (os.major(device), os.minor(device))
    for line in lines:
        fields = line.split()
        if fields[2] == number:
            kind = fields[fields.index(b"-") + 1].decode(errors="replace")
            return kind if kind in _REMOTE or kind.split(".")[0] == "fuse" else ""
    return ""
