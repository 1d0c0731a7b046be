"""Which mounts a machine reports."""

from __future__ import annotations

from pathlib import Path

from mythjobs.agent.probing.mounts import find_mounts
from mythjobs.protocol.scaling import Mount

MOUNTINFO = """\
22 1 0:30 / / rw - overlay overlay rw
23 22 0:5 / /dev rw - devtmpfs udev rw
24 22 0:31 / /mnt/my\\040nas rw shared:1 - nfs4 nas:/tv rw
25 22 7:1 / /snap/x ro - squashfs /dev/loop1 ro
26 22 0:32 / /tmp rw - tmpfs tmpfs rw
27 22 259:77 / /boot/efi rw - vfat /dev/nope1 rw
28 22 259:78 / /srv rw - xfs /dev/nope2 rw
29 22 0:33 / /home/a/remote rw - fuse.sshfs b:/ rw
no line of a mount
"""


def test_disks_and_network_disks_are_listed_and_the_rest_is_not(tmp_path: Path) -> None:
    (tmp_path / "mountinfo").write_text(MOUNTINFO)
    assert find_mounts(tmp_path / "mountinfo") == [
        Mount("/", "overlay", "overlay"),
        Mount("/home/a/remote", "fuse.sshfs", "b:/"),
        Mount("/mnt/my nas", "nfs4", "nas:/tv"),
        Mount("/srv", "xfs", "/dev/nope2"),
    ]


def test_a_machine_without_mountinfo_has_no_mounts(tmp_path: Path) -> None:
    assert find_mounts(tmp_path / "none") == []
