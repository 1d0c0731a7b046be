"""Scripts of the example definitions, run by a shell as the reaper runs them."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import tomllib
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[3] / "examples"
SQLITE = pytest.mark.skipif(shutil.which("sqlite3") is None, reason="sqlite3 is not installed")


class Scripts:
    """Runs scripts of examples. Programs that a test adds precede those of the system."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.programs = directory / "bin"
        self.programs.mkdir()

    def add_program(self, name: str, script: str) -> None:
        path = self.programs / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def run(self, example: str, **arguments: object) -> subprocess.CompletedProcess[str]:
        definition = tomllib.loads((EXAMPLES / f"{example}.toml").read_text())
        values = {
            each["name"]: each["default"] for each in definition["parameters"] if "default" in each
        } | arguments
        scratch = self.directory / "scratch"
        scratch.mkdir(exist_ok=True)
        return subprocess.run(
            ["/bin/sh", "-c", definition["shell"]],
            cwd=scratch,
            env={
                "PATH": f"{self.programs}:{os.environ['PATH']}",
                "MYTHJOBS_JOB": "7",
                "MYTHJOBS_DIR": str(scratch),
                "MYTHJOBS_STATUS": "/dev/null",
            }
            | {f"MYTHJOBS_P_{key.upper()}": str(value) for key, value in values.items()},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )


@pytest.fixture
def scripts(tmp_path: Path) -> Scripts:
    return Scripts(tmp_path)


@pytest.fixture
def backups(tmp_path: Path) -> Path:
    path = tmp_path / "backups"
    path.mkdir()
    return path


def make_database(path: Path, text: str = "x") -> Path:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE t (x)")
        connection.execute("INSERT INTO t VALUES (?)", (text,))
    connection.close()
    return path


def read_database(path: Path) -> str:
    connection = sqlite3.connect(path)
    (text,) = connection.execute("SELECT x FROM t").fetchone()
    connection.close()
    return str(text)


@SQLITE
def test_a_backup_is_made_beside_what_a_killed_one_left(scripts: Scripts, backups: Path) -> None:
    for name in ("backup.part", ".backup-sqlite.part"):
        (backups / name).write_text("no database")
    done = scripts.run(
        "schedules/commands/backup-sqlite",
        database=make_database(scripts.directory / "app.db"),
        directory=backups,
    )
    assert done.returncode == 0, done.stderr
    (backup,) = backups.glob("app.db-*")
    assert read_database(backup) == "x"
    assert backup.stat().st_mode & 0o077 == 0
    assert not (backups / ".backup-sqlite.part").exists()


@SQLITE
@pytest.mark.parametrize("keep", [0, -1, 2**64])
def test_rotation_never_deletes_the_new_backup(scripts: Scripts, backups: Path, keep: int) -> None:
    old = backups / "app.db-2026-01-01-000000"
    old.touch()
    scripts.run(
        "schedules/commands/backup-sqlite",
        database=make_database(scripts.directory / "app.db"),
        directory=backups,
        keep=keep,
    )
    assert old.exists()


@SQLITE
@pytest.mark.parametrize("name", ["-rf", "a b\nc", "$(id)*?", "app.db"])
def test_rotation_deletes_only_old_backups_of_the_database(
    scripts: Scripts, backups: Path, name: str
) -> None:
    others = [
        backups / each
        for each in (name, f"{name}-wal", f"{name}-20xx-01-01-000000", "c", "a b", "backup.sql")
    ]
    old = [backups / f"{name}-202{year}-01-01-000000" for year in range(3)]
    for each in [*others, *old]:
        each.touch()
    # The oldest by its name is the newest by its time stamp: a copy from another disk, say.
    os.utime(old[0], (2**31, 2**31))
    done = scripts.run(
        "schedules/commands/backup-sqlite",
        database=make_database(scripts.directory / name),
        directory=backups,
        keep=2,
    )
    assert done.returncode == 0, done.stderr
    assert all(each.exists() for each in others)
    assert [each.exists() for each in old] == [False, False, True]


@SQLITE
def test_two_databases_of_one_name_do_not_replace_each_others_backup(
    scripts: Scripts, backups: Path
) -> None:
    scripts.add_program("date", "echo 2026-11-29-023000")
    codes = []
    for name in ("one", "two"):
        (scripts.directory / name).mkdir()
        done = scripts.run(
            "schedules/commands/backup-sqlite",
            database=make_database(scripts.directory / name / "app.db", name),
            directory=backups,
        )
        codes.append(done.returncode)
    assert codes == [0, 1]
    assert read_database(backups / "app.db-2026-11-29-023000") == "one"


@pytest.mark.parametrize(
    "name, program", [("backup-mysql", "mysqldump"), ("backup-postgresql", "pg_dump")]
)
def test_a_dump_that_fails_replaces_and_deletes_nothing(
    scripts: Scripts, backups: Path, name: str, program: str
) -> None:
    write = (
        'for each; do case $each in --file=*|--result-file=*) echo dump >"${each#*=}";; esac; done'
    )
    kept = [backups / f"app-2026-01-0{day}-000000" for day in range(1, 5)]
    kept = [each.with_name(each.name + end) for each in kept for end in (".dump", ".sql.gz")]
    kept += [backups / "backup.sql", backups / "backup.part"]
    for each in kept:
        each.write_text("old")
    example = f"schedules/commands/{name}"
    scripts.add_program(program, f"{write}; exit 2")
    assert scripts.run(example, database="app", directory=backups, keep=1).returncode == 2
    assert sorted(backups.iterdir()) == sorted(kept)
    assert all(each.read_text() == "old" for each in kept)
    for bad in ("", "-x", "a/b"):
        done = scripts.run(example, database=bad, directory=backups, keep=1)
        assert "is no name of a database" in done.stderr
        assert done.returncode == 1
    scripts.add_program(program, write)
    assert scripts.run(example, database="app", directory=backups, keep=1).returncode == 0
    assert len(list(backups.iterdir())) == len(kept) - 3
    assert (backups / "backup.sql").exists()


@pytest.mark.parametrize(
    "status, code", [("pool 'tank' is healthy", 0), ("  pool: tank\n state: DEGRADED", 1)]
)
def test_a_scrub_of_zfs_that_finds_errors_fails(scripts: Scripts, status: str, code: int) -> None:
    scripts.add_program("zpool", f'[ "$1" = scrub ] || cat <<END\n{status}\nEND')
    done = scripts.run("schedules/commands/scrub-zfs", pool="tank")
    assert (done.returncode, done.stdout) == (code, f"{status}\n")


def test_checksums_that_cannot_be_written_leave_the_old_list(
    scripts: Scripts, tmp_path: Path
) -> None:
    directory = tmp_path / "tv"
    directory.mkdir()
    sums = directory / "SHA256SUMS"
    sums.write_text("old")
    (directory / r"a\nprogress 100").touch()
    scripts.add_program("cp", "echo part >$2; echo no space >&2; exit 1")
    assert scripts.run("checksums", directory=directory).returncode == 1
    assert sums.read_text() == "old"
    assert len(list(directory.iterdir())) == 2
    (scripts.programs / "cp").unlink()
    assert scripts.run("checksums", directory=directory).returncode == 0
    assert len(sums.read_text().splitlines()) == 1


@pytest.mark.parametrize("example, ending", [("transcode-h264", "mp4"), ("thumbnail", "jpg")])
def test_a_failed_conversion_leaves_the_old_target(
    scripts: Scripts, tmp_path: Path, example: str, ending: str
) -> None:
    target = tmp_path / f"100 %d.{ending}"
    target.write_text("old")
    source = tmp_path / "source.ts"
    source.touch()
    scripts.add_program("ffprobe", "echo 10.5")
    write = 'for last; do :; done; echo new >"$last"'
    scripts.add_program("ffmpeg", f"{write}; exit 1")
    assert scripts.run(example, source=source, target=target).returncode == 1
    assert target.read_text() == "old"
    scripts.add_program("ffmpeg", write)
    assert scripts.run(example, source=source, target=target).returncode == 0
    assert target.read_text() == "new\n"
    assert not list(tmp_path.glob(".[!.]*"))


def test_a_transcode_does_not_replace_its_source(scripts: Scripts, tmp_path: Path) -> None:
    source, link = tmp_path / "news.mp4", tmp_path / "link.mp4"
    source.write_text("recording")
    link.symlink_to(source)
    scripts.add_program("ffmpeg", 'for last; do :; done; echo new >"$last"')
    done = scripts.run("transcode-h264", source=source, target=link)
    assert (done.returncode, done.stderr) == (1, "source and target are the same file\n")
    assert source.read_text() == "recording"


@pytest.mark.parametrize("mode", ["link", "symlink"])
def test_an_export_does_not_replace_another_recordings(
    scripts: Scripts, tmp_path: Path, mode: str
) -> None:
    root = tmp_path / "media"
    found = {}
    for number, hour in ((1, 18), (2, 20), (2, 20)):
        path = tmp_path / f"{number}.ts"
        path.write_text(f"recording {number}")
        done = scripts.run(
            "mythtv/export-tree", path=path, root=root, mode=mode, recordedid=number, title="News",
            subtitle="", inetref="", originalairdate="../../2026", season=0, episode=0, year=0,
            starttime_iso="2026-07-15T20:00:00", starttime_utc=f"20260715{hour}0000",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        found = {str(each.relative_to(root)): each.read_text() for each in root.rglob("*.ts")}
    folder = "TV Shows/News/Season 2026"
    assert [*sorted(found.values())] == ["recording 1", "recording 2"], folder
