"""SQLite store: full, failed and network disks, unclean ends, checkpoints."""

from __future__ import annotations

import os
import resource
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from mythjobs.errors import ConfigError, StateNotWritable, StoreFailed, StoreFull
from mythjobs.store.backends.disk import find_network_file_system
from mythjobs.store.backends.sqlite import SqliteStore
from mythjobs.store.backends.wal import WriteAheadLog
from mythjobs.store.invariants.run import check
from mythjobs.store.queries.commands import read_queue_counts
from mythjobs.store.writes.job_state import LeasedJob
from tests.support import disks
from tests.support import queue as q

RESERVE = 256 * 1024


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with disks.mount_small_disk(tmp_path) as path:
        yield path


def _submit_until_full(store: SqliteStore) -> None:
    while True:
        with store.transaction() as tx:
            q.queue_job(tx)


def test_a_store_does_not_fail_if_no_more_files_can_be_opened(tmp_path: Path) -> None:
    # A master with as many connections as it may open files exited when its log was to grow.
    with closing(SqliteStore(tmp_path / "store.db")) as store:
        with store.transaction() as tx:
            q.queue_job(tx)
        log = WriteAheadLog(tmp_path / "store.db", max_bytes=2**24)
        size = log.read_file_bytes()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        lowest = os.open(os.devnull, os.O_RDONLY)
        os.close(lowest)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
            log.extend(2**22)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert log.read_file_bytes() == size
        log.extend(2**22)
        assert log.read_file_bytes() > size


def test_a_full_disk_refuses_new_jobs_and_lets_running_jobs_finish(small_disk: Path) -> None:
    store = SqliteStore(small_disk / "store.db", reserve_bytes=RESERVE)
    with store.transaction() as tx:
        q.enrol_machines(tx)
        ids = q.queue_jobs(tx, 40)
        for each in ids[:20]:
            q.start(tx, *q.lease(tx, each))
        live = [LeasedJob(each, 1, 1, 1, None, 0, None, 0, "{}", 0, 0) for each in ids[:20]]
    for _ in range(3):
        ballast = disks.fill_disk(small_disk)
        with pytest.raises(StoreFull, match="requests that need space are refused"):
            _submit_until_full(store)
        assert not store.has_free_space()
        # The reserve is released, so ends of running jobs still fit, one transaction each.
        for _ in range(5):
            with store.transaction() as tx:
                q.end(tx, live.pop())
        ballast.unlink()
        assert store.has_free_space()
        with store.transaction() as tx:
            q.queue_job(tx)
    with store.transaction() as tx:
        assert check(tx) == []
    store.close()
    store = SqliteStore(small_disk / "store.db", reserve_bytes=RESERVE)
    with store.transaction() as tx:
        assert check(tx) == []
        assert q.read_state(tx, ids[19]) == "succeeded"
    store.close()


def test_a_store_opens_on_a_full_disk_by_releasing_the_reserve(small_disk: Path) -> None:
    SqliteStore(small_disk / "store.db", reserve_bytes=RESERVE).close()
    ballast = disks.fill_disk(small_disk)
    store = SqliteStore(small_disk / "store.db", reserve_bytes=RESERVE)
    with store.transaction() as tx:
        q.enrol_machines(tx)
    ballast.unlink()
    assert store.has_free_space()
    store.close()


def test_after_a_failed_write_all_transactions_are_refused(tmp_path: Path) -> None:
    # A child process with RLIMIT_FSIZE: writes fail with EFBIG, which is a disk error.
    program = """
import resource, signal, sys
from pathlib import Path
from mythjobs.errors import StoreFailed
from mythjobs.store.backends.sqlite import SqliteStore
from tests.support import disks
from tests.support import queue as q
store = SqliteStore(Path(sys.argv[1]), unsafe=True)
with store.transaction() as tx:
    q.queue_job(tx)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
size = Path(sys.argv[1] + "-wal").stat().st_size
resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
for _ in range(2):
    try:
        with store.transaction() as tx:
            q.queue_jobs(tx, 2000)
    except StoreFailed as error:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        print(error.exit_code, error.sentence)
store.close()
print(Path(sys.argv[1] + "-wal").exists())
"""
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "store.db")],
        capture_output=True,
        text=True,
        cwd=root,
        env={**os.environ, "PYTHONPATH": f"{root}:{root / 'src'}"},
    )
    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stderr
    # The second try fails with the first error, although the disk works again.
    assert len(lines) == 3
    assert lines[0] == lines[1]
    assert lines[0].startswith(f"{os.EX_IOERR} the store ")
    assert "nothing of the last transaction was acknowledged" in lines[0]
    store = SqliteStore(tmp_path / "store.db", unsafe=True)
    with store.transaction() as tx:
        assert check(tx) == []
        assert q.queue_job(tx) == 2
    store.close()


def test_a_damaged_file_is_detected_after_an_unclean_end(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    store = SqliteStore(path, unsafe=True)
    with store.transaction() as tx:
        q.queue_jobs(tx, 2000)
    store.close()
    data = bytearray(path.read_bytes())
    middle = len(data) // 2 // 4096 * 4096
    data[middle : middle + 4096] = bytes(range(256)) * 16
    path.write_bytes(data)
    # A log without a checkpoint, as after a kill.
    again = sqlite3.connect(path)
    again.execute("PRAGMA wal_autocheckpoint = 0")
    again.execute("UPDATE meta SET value = '3000'")
    again.commit()
    shutil.copy(path, tmp_path / "killed.db")
    shutil.copy(f"{path}-wal", tmp_path / "killed.db-wal")
    again.close()
    with pytest.raises(StoreFailed, match="restore a backup with"):
        SqliteStore(tmp_path / "killed.db", unsafe=True)


def test_the_log_of_a_killed_master_is_synced_before_it_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SqliteStore(tmp_path / "store.db", unsafe=True)
    with store.transaction() as tx:
        q.queue_jobs(tx, 2000)
    killed = tmp_path / "killed.db"
    shutil.copy(tmp_path / "store.db", killed)
    log = Path(shutil.copy(tmp_path / "store.db-wal", f"{killed}-wal"))
    store.close()
    before = log.read_bytes()
    synced: list[bytes] = []

    def fsync(fd: int) -> None:
        if os.fstat(fd).st_ino == log.stat().st_ino:
            synced.append(log.read_bytes())

    monkeypatch.setattr(os, "fsync", fsync)
    again = SqliteStore(killed, unsafe=True)
    assert synced == [before]
    with again.transaction() as tx:
        assert q.queue_job(tx) == 2001
    again.close()


def test_transactions_committed_before_a_kill_survive(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store.db", unsafe=True)
    with store.transaction() as tx:
        q.queue_jobs(tx, 10)
    for name in ("store.db", "store.db-wal"):
        shutil.copy(tmp_path / name, tmp_path / f"killed-{name}")
    (tmp_path / "killed-store.db-wal").rename(tmp_path / "killed-store.db-wal")
    store.close()
    killed = SqliteStore(tmp_path / "killed-store.db", unsafe=True)
    with killed.transaction() as tx:
        assert check(tx) == []
        assert q.queue_job(tx) == 11
    killed.close()


def test_a_file_that_is_not_a_store_is_not_changed(tmp_path: Path) -> None:
    (tmp_path / "store.db").write_bytes(b"a letter to grandmother" * 100)
    with pytest.raises(ConfigError, match="is not a mythjobs store"):
        SqliteStore(tmp_path / "store.db", unsafe=True)
    assert (tmp_path / "store.db").read_bytes().startswith(b"a letter")


def test_a_missing_directory_is_reported(tmp_path: Path) -> None:
    with pytest.raises(StateNotWritable, match="cannot open the store"):
        SqliteStore(tmp_path / "nowhere" / "store.db", unsafe=True)


def test_a_checkpoint_moves_a_large_log_into_the_file(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store.db", unsafe=True)
    with store.transaction() as tx:
        q.queue_jobs(tx, 1000)
    before = (tmp_path / "store.db").stat().st_size
    store.checkpoint()
    assert (tmp_path / "store.db").stat().st_size == before
    store.checkpoint(least_bytes=1)
    assert (tmp_path / "store.db").stat().st_size > before
    store.close()


def test_after_a_checkpoint_small_transactions_do_not_checkpoint_again(tmp_path: Path) -> None:
    bound = 128 * 1024
    store = SqliteStore(tmp_path / "store.db", unsafe=True, checkpoint_bytes=bound)
    log = tmp_path / "store.db-wal"

    def turn(jobs: int) -> int:
        with store.transaction() as tx:
            q.queue_jobs(tx, jobs)
        store.checkpoint()
        return (tmp_path / "store.db").stat().st_mtime_ns

    moved = turn(4000)
    log_bytes = log.stat().st_size
    assert log_bytes > bound
    assert [turn(1) for _ in range(3)] == [moved] * 3
    assert log.stat().st_size == log_bytes  # overwritten from its beginning
    # Pages in use by a reader stay in the log. The next try waits until the log has grown.
    with store.snapshot() as tx:
        read_queue_counts(tx)
        turn(4000)
        tried = turn(1)
        assert [turn(1) for _ in range(3)] == [tried] * 3
    assert turn(2000) > tried
    store.close()


def test_the_log_gets_spare_space_that_a_restart_ignores(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store.db", unsafe=True)
    log = tmp_path / "store.db-wal"
    sizes = []
    for _ in range(3):
        with store.transaction() as tx:
            q.queue_jobs(tx, 10)
        store.checkpoint()
        sizes.append(log.stat().st_size)
    assert sizes[0] > 2**20
    assert sizes == [sizes[0]] * 3
    for name in ("store.db", "store.db-wal"):
        shutil.copy(tmp_path / name, tmp_path / f"killed-{name}")
    [_, frames, _] = store._writer.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    assert store._wal.read_used_bytes() == 32 + frames * (24 + 4096)
    store.close()
    killed = SqliteStore(tmp_path / "killed-store.db", unsafe=True)
    with killed.transaction() as tx:
        assert check(tx) == []
        assert q.queue_job(tx) == 31
    killed.close()


@pytest.mark.parametrize(
    "kind, found",
    [("nfs4", "nfs4"), ("cifs", "cifs"), ("fuse.sshfs", "fuse.sshfs"), ("ext4", ""), ("tmpfs", "")],
)
def test_network_file_systems_are_recognized(tmp_path: Path, kind: str, found: str) -> None:
    device = os.stat(tmp_path).st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        "21 1 9:99 / /other rw - nfs4 host:/x rw\n"
        f"22 1 {number} / / rw,relatime shared:1 - {kind} /dev/x rw\n"
    )
    assert find_network_file_system(tmp_path, mounts) == found


@pytest.mark.parametrize("replaced", [False, True])
def test_a_deleted_or_replaced_file_makes_the_store_fail(tmp_path: Path, replaced: bool) -> None:
    path = tmp_path / "store.db"
    store = SqliteStore(path, unsafe=True)
    with store.transaction() as tx:
        q.queue_jobs(tx, 1)
    if replaced:
        shutil.copy(path, tmp_path / "other.db")
        os.replace(tmp_path / "other.db", path)
    else:
        path.unlink()
    for _ in range(2):
        with pytest.raises(StoreFailed, match="deleted or replaced"), store.transaction() as tx:
            q.queue_jobs(tx, 1)
    store.close()


@pytest.mark.parametrize("is_present", [False, True])
def test_only_the_owner_can_read_the_files_of_a_store(tmp_path: Path, is_present: bool) -> None:
    path = tmp_path / "store.db"
    before = os.umask(0)
    try:
        if is_present:  # as earlier versions have created it
            sqlite3.connect(path).execute("PRAGMA journal_mode = WAL").connection.close()
            path.chmod(0o666)
        store = SqliteStore(path)
        with store.transaction() as tx:
            q.queue_job(tx)
        modes = {each.name: each.stat().st_mode & 0o777 for each in tmp_path.iterdir()}
        store.close()
    finally:
        os.umask(before)
    assert set(modes) == {f"store.db{end}" for end in ("", "-wal", "-shm", "-reserve")}
    assert set(modes.values()) == {0o600}


def test_long_snapshots_end_when_they_are_interrupted(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store.db", unsafe=True)
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"
    begun = threading.Event()

    def read_for_ever() -> None:
        with store.snapshot(long=True) as tx:
            begun.set()
            tx.cursor.execute(endless).fetchall()

    with ThreadPoolExecutor(1) as threads:
        reading = threads.submit(read_for_ever)
        assert begun.wait(60)
        store.interrupt_long_snapshots()
        with pytest.raises(sqlite3.OperationalError, match="interrupted"):
            reading.result(60)
    # Another one ends too, even if it has begun since; a short one is answered.
    with pytest.raises(sqlite3.OperationalError), store.snapshot(long=True) as tx:
        tx.cursor.execute(endless)
    with store.snapshot() as tx:
        assert read_queue_counts(tx)["counts"]["queued"] == 0
    store.close()


def test_a_store_is_closed_while_a_snapshot_is_open(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store.db", unsafe=True)
    with store.snapshot() as tx:
        tx.cursor.execute("SELECT count(*) FROM job").fetchall()
        with store.transaction() as writing:
            q.define_command(writing)
        # The log keeps the data, because the snapshot may need the database as it was.
        store.close()
    with closing(SqliteStore(tmp_path / "store.db", unsafe=True)) as again, again.snapshot() as tx:
        assert tx.cursor.execute("SELECT count(*) FROM command").fetchone()[0] > 0
