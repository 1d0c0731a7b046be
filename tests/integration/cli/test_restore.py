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
    """A state directory with a store of one job that waits, and a backup of it."""
    root = tmp_path / "s"
    root.mkdir(mode=0o700)
    store = open_store(root / "store.db", unsafe=True)
    with store.transaction() as tx:
        q.queue_job(tx)
    store.close()
    back_up(root / "store.db", tmp_path / "b.db")
    return root


def _restore(root: Path, *words: str) -> int:
    return run(["--state-dir", str(root), "restore", *words])


def test_the_store_goes_back_and_the_other_is_kept(
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


def test_a_machine_that_has_none_yet_gets_one(
    root: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    new = root.parent / "new"
    assert _restore(new, str(root.parent / "b.db"), "--yes", "--json") == 0
    said = json.loads(capfd.readouterr().out)
    assert said == {"held": 1, "next_job": 2_000_000, "kept": None}


def test_a_store_that_was_put_back_already(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert _restore(root, "--in-place", "--yes") == 0
    assert capfd.readouterr().out == "1 job is held; the next job id is 2000000\n"


def test_who_is_not_asked_changes_nothing(
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


def test_what_cannot_be_put_back_is_said(
    root: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    backup = str(root.parent / "b.db")
    for words, code, said in (
        ((), 2, "name the backup, or give --in-place"),
        ((backup, "--in-place"), 2, "name the backup, or give --in-place"),
        ((f"{backup}.none", "--yes"), 2, "there is no store"),
    ):
        assert _restore(root, *words) == code
        assert said in capfd.readouterr().err
    with locks.acquire(root / "master.lock", "a master"):
        assert _restore(root, backup, "--yes") == 75
    assert "a master is already running" in capfd.readouterr().err
    assert _restore(root.parent / "empty", "--in-place") == 2
    monkeypatch.setenv("MYTHJOBS_STORE", "postgresql://ann@db/jobs")
    assert _restore(root, backup, "--yes") == 2
    assert "pg_restore" in capfd.readouterr().err
