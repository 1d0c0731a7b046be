import os
import subprocess
from pathlib import Path

import pytest

from mythjobs.watch.directory_scan import (
    FileFilter,
    find_remote_file_system,
    is_being_written,
    scan_files,
    walk_directories,
)
from mythjobs.watch.inotify import DirectoryNotifier
from tests.integration.watch.watching import make_deep


def scan(directory: Path, accepted: FileFilter) -> set[str]:
    found = scan_files(str(directory), accepted)
    return {os.path.relpath(each, directory) for each in found}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("a.ts", "B.TS", "c.mp4", "d.part", ".hidden", "e~", "sub/f.ts", ".git/g.ts"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("x")
    (tmp_path / "link.ts").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "fifo.ts")
    return tmp_path


@pytest.mark.parametrize(
    "accepted, names",
    [
        (FileFilter(), {"a.ts", "B.TS", "c.mp4"}),
        (FileFilter(is_recursive=True), {"a.ts", "B.TS", "c.mp4", "sub/f.ts"}),
        (FileFilter(("*.ts",)), {"a.ts", "B.TS"}),
        (FileFilter(("*.ts",), ("b.*",)), {"a.ts"}),
        (FileFilter(("sub/*",), (), True), {"sub/f.ts"}),
        (FileFilter(("*.avi",)), set()),
    ],
)
def test_files_that_are_taken(tree: Path, accepted: FileFilter, names: set[str]) -> None:
    assert scan(tree, accepted) == names


def test_inode_numbers_are_left_out_where_each_mount_changes_them(tree: Path) -> None:
    # Otherwise a remounted disk would give each of its files another job.
    numbered = scan_files(str(tree), FileFilter())[str(tree / "a.ts")]
    unnumbered = scan_files(str(tree), FileFilter(), has_inodes=False)[str(tree / "a.ts")]
    assert numbered.inode == (tree / "a.ts").stat().st_ino
    assert unnumbered == numbered._replace(inode=0)


def test_a_directory_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        scan(tmp_path / "missing", FileFilter())


def test_a_file_that_a_program_writes(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with path.open("w"):
        assert is_being_written(str(path))
    assert not is_being_written(str(path))
    assert not is_being_written(str(tmp_path / "missing"))


def test_the_kind_of_file_system(tmp_path: Path) -> None:
    assert find_remote_file_system(str(tmp_path)) == ""
    with pytest.raises(FileNotFoundError):
        find_remote_file_system(str(tmp_path / "missing"))


def test_notifications(tree: Path) -> None:
    notifier = DirectoryNotifier()
    try:
        for each in walk_directories(str(tree)):
            assert notifier.add(each)
        assert not notifier.add(str(tree / "sub"))
        assert not notifier.add(str(tree / "missing"))
        assert notifier.read_changed() == (set(), set(), False)
        (tree / "sub" / "new").write_text("x")
        (tree / "more").mkdir()
        changed, appeared, is_lost = notifier.read_changed()
        assert changed == {str(tree), str(tree / "sub")}
        assert appeared == {str(tree / "more")}
        assert not is_lost
        (tree / "sub" / "new").rename(tree / "moved")
        (tree / "sub" / "f.ts").unlink()
        (tree / "sub").rmdir()
        changed, _, _ = notifier.read_changed()
        assert str(tree) in changed
    finally:
        notifier.close()


def test_directories_that_appear_during_a_walk(tree: Path) -> None:
    """A directory is watched before it is read: what is too new to be read is notified."""
    notifier = DirectoryNotifier()
    known = set()
    try:
        for each in walk_directories(str(tree)):
            notifier.add(each)
            known.add(each)
            if each.endswith("/sub"):
                (tree / "sub" / "in").mkdir()
                (tree / "late").mkdir()
        _, appeared, _ = notifier.read_changed()
    finally:
        notifier.close()
    assert {str(tree / "sub" / "in"), str(tree / "late")} <= known | appeared


def test_directories_in_each_other_do_not_hide_other_files(tree: Path) -> None:
    """Whoever may write in the directory must not be able to end the watch."""
    make_deep(tree, 1500)
    try:
        assert scan(tree, FileFilter(is_recursive=True)) == {"a.ts", "B.TS", "c.mp4", "sub/f.ts"}
        assert str(tree / "sub") in walk_directories(str(tree))
    finally:
        subprocess.run(["rm", "-rf", str(tree / "deep")], check=True)


def test_a_file_whose_path_is_too_long_does_not_hide_others(tree: Path) -> None:
    here, length = os.open(tree, os.O_RDONLY), len(str(tree))
    name = "n" * 200
    try:
        while length + 201 < 4095:
            os.mkdir(name, dir_fd=here)
            below = os.open(name, os.O_RDONLY, dir_fd=here)
            os.close(here)
            here, length = below, length + 201
        os.close(os.open(name, os.O_WRONLY | os.O_CREAT, dir_fd=here))
        assert scan(tree, FileFilter(is_recursive=True)) == {"a.ts", "B.TS", "c.mp4", "sub/f.ts"}
    finally:
        os.close(here)
        subprocess.run(["rm", "-rf", str(tree / name)], check=True)


def test_a_directory_that_was_not_watched_is_named_when_its_mode_changes(tree: Path) -> None:
    notifier = DirectoryNotifier()
    (tree / "closed").mkdir(mode=0)
    try:
        notifier.add(str(tree))
        notifier.add(str(tree / "sub"))
        (tree / "closed").chmod(0o700)
        (tree / "sub").chmod(0o700)
        (tree / "a.ts").chmod(0o600)
        assert notifier.read_changed() == (
            {str(tree), str(tree / "sub")},
            {str(tree / "closed")},
            False,
        )
    finally:
        notifier.close()
