"""Reading and writing of users' crontabs through the program crontab."""

import os
from pathlib import Path

import pytest

from mythjobs.errors import BadRequest
from mythjobs.takeover.cron.cron_files import CronFiles
from mythjobs.takeover.entry import Place
from mythjobs.takeover.machine_root import MachineRoot
from tests.support.machine_tree import ME, MachineTree

# Behaves like Debian's crontab, with one file in place of the spool.
PROGRAM = """#!/bin/sh
[ "$1" = -u ] && shift 2
if [ "$1" = -l ]; then
    [ "$CRONTAB_NOHEADER" = N ] && echo '# DO NOT EDIT'
    [ -f {spool} ] || {{ echo 'no crontab for me' >&2; exit 1; }}
    exec cat {spool}
fi
grep -q '^bad' "$1" && {{ echo '"-":1: bad minute' >&2; exit 1; }}
exec cp "$1" {spool}
"""
PLACE = Place("crontab", ME)


@pytest.fixture
def spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    found = tmp_path / "spool"
    program = tmp_path / "crontab"
    program.write_text(PROGRAM.format(spool=found))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("CRONTAB_NOHEADER", "N")
    return found


def test_a_crontab_is_written_and_read_byte_for_byte(spool: Path) -> None:
    files = CronFiles(MachineRoot("/"))
    assert files.read(PLACE) is None
    content = b"# \xe4\n0 4 * * *  x\t\n\n"
    files.write(PLACE, content)
    assert spool.read_bytes() == content
    assert files.read(PLACE) == content


def test_what_crontab_refuses_is_told(spool: Path) -> None:
    files = CronFiles(MachineRoot("/"))
    files.write(PLACE, b"0 4 * * * x\n")
    with pytest.raises(BadRequest, match=f"cannot change the crontab of {ME}: .*bad minute"):
        files.write(PLACE, b"bad\n")
    assert files.read(PLACE) == b"0 4 * * * x\n"


def test_without_the_program_the_reason_is_told(
    spool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "crontab").unlink()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BadRequest, match="crontab is not installed"):
        CronFiles(MachineRoot("/")).read(PLACE)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root reads the crontabs of all users")
def test_crontabs_of_removed_users_are_ignored(spool: Path, tmp_path: Path) -> None:
    tree = MachineTree(tmp_path / "root")
    for user in (ME, "removed-user"):
        tree.write(f"/var/spool/cron/crontabs/{user}", "0 4 * * * x\n")
    spool.write_text("0 5 * * * y\n")
    root = MachineRoot(str(tree.directory))
    root.is_live = True
    (found,) = CronFiles(root).read_crontabs()
    assert (found.name, found.text) == (ME, "0 5 * * * y\n")
