"""Mounts, parsed from mountinfo files."""

from __future__ import annotations

import os

from mythjobs.model.mountinfo import MountEntry, find_mount, parse_mountinfo

_DISK = b"36 35 98:0 /sub /mnt rw,noatime - ext3 /dev/root rw,errors=continue\n"
_SHARE = b"37 35 0:40 / /srv/tv rw shared:1 master:2 - nfs4 nas:/tv rw,vers=4.2\n"


def test_each_mount_is_parsed_whatever_its_number_of_optional_fields() -> None:
    assert parse_mountinfo(_DISK + _SHARE) == [
        MountEntry(
            36, os.makedev(98, 0), "/sub", "/mnt", "ext3", "/dev/root", "rw,errors=continue"
        ),
        MountEntry(37, os.makedev(0, 40), "/", "/srv/tv", "nfs4", "nas:/tv", "rw,vers=4.2"),
    ]


def test_escaped_characters_are_decoded_once() -> None:
    line = rb"1 2 0:3 / /a\040b\011c\012d\043e\134040 rw - cifs //nas/my\040tv rw"
    [entry] = parse_mountinfo(line)
    assert (entry.point, entry.source) == ("/a b\tc\nd#e\\040", "//nas/my tv")


def test_only_blanks_and_newlines_separate() -> None:
    path = "/Filme\u00a0und\u2028Serien\x0c\r"
    [entry] = parse_mountinfo(f"1 2 0:3 / {path} rw - tmpfs  rw,size=1k\n".encode())
    assert (entry.point, entry.source, entry.options) == (path, "", "rw,size=1k")


def test_lines_of_another_form_are_left_out() -> None:
    numbers = (b"1 2 x:3", b"x 2 0:3", b"1 2 3")
    broken = b"no mount\n\n" + b"".join(each + b" / / rw - ext4 /dev/a rw\n" for each in numbers)
    assert parse_mountinfo(broken + _DISK + b"1 2 0:3 / /mnt rw ext4 /dev/a rw") == (
        parse_mountinfo(_DISK)
    )


def test_a_mount_is_found_by_the_device_of_its_files() -> None:
    found = find_mount(_DISK + _SHARE, os.makedev(0, 40))
    assert found is not None
    assert found.kind == "nfs4"
    assert find_mount(_DISK, os.makedev(0, 40)) is None
