"""Removal of scratch directories: deep trees, closed modes, links, mounts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mythjobs.process.reaper.rmtree import remove_tree

DEEP = """
import os
for number in range(3000):
    os.mkdir("directory-of-a-job")
    os.chdir("directory-of-a-job")
    open("file", "w").close()
"""
# Runs as a user bound by file modes, who owns the directory. All code is imported before.
AS_NOBODY = """
import os, sys
sys.path.insert(0, sys.argv[2])
from mythjobs.process.reaper.rmtree import remove_tree
if os.getuid() == 0:
    os.chown(sys.argv[1], 65534, 65534)
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
path = sys.argv[1] + "/scratch"
os.makedirs(path + "/cache/module/inner")
for name in ("cache/module/inner/file", "cache/module/file", "file"):
    open(f"{path}/{name}", "w").close()
for name, mode in (("cache/module/inner", 0), ("cache/module", 0o555), ("cache", 0o500), ("", 0)):
    os.chmod(f"{path}/{name}", mode)
assert remove_tree(path)
assert not os.path.lexists(path)
"""


def test_a_tree_deeper_than_path_max_is_removed(tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    subprocess.run([sys.executable, "-c", DEEP], cwd=scratch, check=True)
    assert remove_tree(str(scratch))
    assert not scratch.exists()


def test_modes_that_forbid_access_are_changed(tmp_path: Path) -> None:
    place = tmp_path / "theirs"
    place.mkdir()
    for each in (tmp_path, *tmp_path.parents):
        if each.stat().st_uid == os.getuid() and each != Path("/"):
            each.chmod(each.stat().st_mode | 0o055)
    source = str(Path(__file__).resolve().parents[3] / "src")
    subprocess.run([sys.executable, "-I", "-S", "-c", AS_NOBODY, str(place), source], check=True)


def test_links_are_removed_but_not_followed(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").write_text("mine")
    scratch = tmp_path / "scratch"
    (scratch / "inner").mkdir(parents=True)
    (scratch / "link").symlink_to(kept)
    (scratch / "inner" / "link").symlink_to(kept / "file")
    os.mkfifo(scratch / "inner" / "fifo")
    assert remove_tree(str(scratch))
    assert (kept / "file").read_text() == "mine"
    alias = tmp_path / "alias"
    alias.symlink_to(kept)
    assert remove_tree(str(alias))
    assert (kept / "file").read_text() == "mine"
    # A missing tree counts as removed.
    assert remove_tree(str(scratch))


def test_mounted_file_systems_are_not_entered(tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    (scratch / "a" / "mount").mkdir(parents=True)
    (scratch / "mount").mkdir()
    (scratch / "file").write_text("gone")
    script = (
        'mount --make-rprivate / && for m in mount a/mount; do mount -t tmpfs tmpfs "$1/$m" && '
        'touch "$1/$m/mine"; done && exec "$2" -c "$3" "$1"'
    )
    code = (
        "import sys, os; from mythjobs.process.reaper.rmtree import remove_tree\n"
        "path = sys.argv[1]\n"
        "assert not remove_tree(path)\n"
        "assert not os.path.exists(path + '/file')\n"
        "print(sum('mine' in files for _, _, files in os.walk(path)))"
    )
    words = ["unshare", "-rm", "sh", "-ec", script, "sh", str(scratch), sys.executable, code]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if "unshare" in done.stderr or "mount:" in done.stderr:
        pytest.skip("nothing can be mounted here")
    assert (done.stdout, done.stderr) == ("2\n", "")
