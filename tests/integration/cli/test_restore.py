import json
from pathlib import Path

import pytest

from mythjobs.cli.main import run
from mythjobs.config import locks
from mythjobs.store.backends.backup import back_up
from mythjobs.store.open import open_store
from tests.support import queue as q


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a state directory with a store of one queued job and a backup."""
    root = tmp_path / "s"
    root.mkdir(mode=0o700)
    store = open_store(root / "store.db", unsafe=True)
    with store.transaction() as tx:
        q.queue_job(tx)
    store.close()
    back_up(root / "store.db", tmp_path / "b.db")
    return root


def _restore(root: Path, *arguments: str) -> int:
    return run(["--state-dir", str(root), "restore", *arguments])


def test_a_backup_is_restored_and_the_previous_store_kept(
    root: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert _restore(root, str(root.parent / "b.db"), "--yes") == 0
    [kept] = root.glob("store.db.2*")
    assert capfd.readouterr().out.splitlines() == [
        f"the previous store is kept as {kept}",
        "1 job is held; the next job id is 2",
    ]
    assert not list(root.glob(".store*"))
    for _ in range(2):
        assert _restore(root, str(root.parent / "b.db"), "--yes") == 0
    assert len(list(root.glob("store.db.2*"))) == 3
    store = open_store(root / "store.db", unsafe=True)
    with store.snapshot() as tx:
        assert q.read_column(tx, 1, "hold") == 1
    store.close()


def test_a_backup_is_restored_without_a_previous_store(
    root: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    new = root.parent / "new"
    assert _restore(new, str(root.parent / "b.db"), "--yes", "--json") == 0
    output = json.loads(capfd.readouterr().out)
    assert output == {"held": 1, "next_job": 2_000_000, "kept": None}


def test_a_store_restored_by_other_means_is_prepared(
    root: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert _restore(root, "--in-place", "--yes") == 0
    assert capfd.readouterr().out == "1 job is held; the next job id is 2000000\n"


def test_nothing_changes_without_confirmation(
    root: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (root / "store.db").read_bytes()
    with open("/dev/null") as empty:
        monkeypatch.setattr("sys.stdin", empty)
        assert _restore(root, str(root.parent / "b.db")) == 2
        assert "replace " in capfd.readouterr().err
        assert _restore(root, "--in-place") == 2
    assert (root / "store.db").read_bytes() == before
    assert not list(root.glob(".store*"))


def test_invalid_restores_are_refused(
    root: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    backup = str(root.parent / "b.db")
    for arguments, code, output in (
        ((), 2, "name the backup, or give --in-place"),
        ((backup, "--in-place"), 2, "name the backup, or give --in-place"),
        ((f"{backup}.none", "--yes"), 2, "there is no store"),
        (("", "--yes"), 2, "the name of the backup is empty"),
        ((str(root), "--yes"), 2, f"{root} is a directory; name the file of a store"),
    ):
        assert _restore(root, *arguments) == code
        assert output in capfd.readouterr().err
    with locks.acquire(root / "master.lock", "a master"):
        assert _restore(root, backup, "--yes") == 75
    assert "a master is already running" in capfd.readouterr().err
    assert _restore(root.parent / "empty", "--in-place") == 2
    monkeypatch.setenv("MYTHJOBS_STORE", "postgresql://ann@db/jobs")
    assert _restore(root, backup, "--yes") == 2
    assert "pg_restore" in capfd.readouterr().err
