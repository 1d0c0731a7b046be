"""Journal of a reaper: reading back, syncing, compacting, and failures of the disk."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from queue import SimpleQueue

import pytest

from mythjobs.process.reaper.journal import (
    JournalState,
    Leader,
    ReaperJournal,
    parse_journal,
    read_journal,
)

END = '{"end":{"job":1,"n":1,"seq":1}}'


def create_journal(path: Path) -> tuple[ReaperJournal, SimpleQueue[int]]:
    synced: SimpleQueue[int] = SimpleQueue()
    return ReaperJournal(
        str(path), '{"reaper":{"reaper":"r1"}}', synced.put, lambda: synced.put(-1)
    ), synced


def test_read_back_unfinished_ended_and_acknowledged_attempts() -> None:
    records = parse_journal(
        [
            b'{"reaper":{"reaper":"r1","boot_id":"b"}}',
            b'{"start":[1,1]}',
            b'{"start":[2,1]}',
            b'{"pid":[1,1,4711,100,101,5000]}',
            b'{"start":[3,1]}',
            b'{"pid":[3,1,4712,100,101,5000]}',
            b'{"end":{"job":1,"n":1,"seq":1}}',
            b'{"end":{"job":2,"n":1,"seq":2}}',
            b'{"ack":[[1,1]]}',
            b'{"start":[4,1]}',
            b'{"end":{"job":3,"n":1,"se',
        ]
    )
    assert records == JournalState(
        reaper={"reaper": "r1", "boot_id": "b"},
        unfinished={(3, 1): Leader(4712, 100, 101, 5000), (4, 1): None},
        ended={(2, 1): {"job": 2, "n": 1, "seq": 2}},
    )


def test_a_missing_journal_has_no_attempts(tmp_path: Path) -> None:
    assert read_journal(tmp_path / "journal") == JournalState()


@pytest.mark.parametrize(
    "damaged",
    [
        b'{"start":5}',
        b'{"start":["a",1]}',
        b'{"start":[1.5,1]}',
        b'{"start":[-1,1]}',
        b'{"start":[99999999999999999999,1]}',
        b'{"pid":[1,1,"4711",100,101,5000]}',
        b'{"pid":[1,1,4711,100,101,null]}',
        b'{"pid":[1,1]}',
        b'{"end":[]}',
        b'{"end":{"job":"x","n":1}}',
        b'{"ack":7}',
        b'{"reaper":[]}',
        b'{"reaper":"r2"}',
    ],
)
def test_a_damaged_record_is_skipped(damaged: bytes) -> None:
    records = parse_journal([b'{"reaper":{"reaper":"r1"}}', b'{"start":[1,1]}', damaged])
    assert records == JournalState(reaper={"reaper": "r1"}, unfinished={(1, 1): None})


def test_records_are_on_disk_once_synced_and_requests_share_a_sync(tmp_path: Path) -> None:
    journal, synced = create_journal(tmp_path / "journal")
    journal.append('{"start":[1,1]}')
    journal.append(END)
    journal.flush()
    journal.request_sync(1)
    assert synced.get(timeout=10) == 1
    assert set(read_journal(tmp_path / "journal").ended) == {(1, 1)}
    for seq in range(2, 1000):
        journal.request_sync(seq)
    while synced.get(timeout=10) != 999:
        pass
    journal.close()


def test_close_completes_the_last_requested_sync(tmp_path: Path) -> None:
    journal, synced = create_journal(tmp_path / "journal")
    journal.append(END)
    journal.flush()
    journal.request_sync(1)
    journal.close()
    assert synced.get(timeout=0) == 1


def test_an_idle_journal_is_truncated(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    journal, _ = create_journal(path)
    for job in range(20_000):
        journal.append(f'{{"start":[{job},1]}}')
    journal.flush()
    journal.compact(list, is_idle=True)
    journal.append(END)
    journal.flush()
    assert path.read_text() == f'{{"reaper":{{"reaper":"r1"}}}}\n{END}\n'
    journal.close()


def test_records_that_the_disk_refused_are_written_later_by_the_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal, synced = create_journal(tmp_path / "journal")
    real, is_full = os.write, threading.Event()
    is_full.set()

    def write(fd: int, data: bytes) -> int:
        if is_full.is_set():
            raise OSError(28, "No space left on device")
        return real(fd, data)

    monkeypatch.setattr(os, "write", write)
    journal.append('{"start":[2,1]}')
    with pytest.raises(OSError, match="No space"):
        journal.flush()
    journal.append(END)
    journal.request_sync(1)
    journal.request_sync(2)
    is_full.clear()
    assert synced.get(timeout=10) == 2
    records = read_journal(tmp_path / "journal")
    assert set(records.ended) == {(1, 1)}
    assert set(records.unfinished) == {(2, 1)}
    journal.close()


def test_a_journal_is_rewritten_when_less_than_half_is_live(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    journal, synced = create_journal(path)
    line = '{"start":[1,1],"pad":"' + "x" * 100_000 + '"}'
    for _ in range(200):
        journal.append(line)
    journal.flush()
    before = os.stat(path).st_ino
    journal.compact(lambda: [END], is_idle=False)
    journal.flush()
    assert os.stat(path).st_ino != before
    journal.append('{"start":[2,1]}')
    journal.flush()
    journal.request_sync(1)
    assert synced.get(timeout=10) == 1
    records = read_journal(path)
    assert set(records.ended) == {(1, 1)}
    assert set(records.unfinished) == {(2, 1)}
    assert os.listdir(tmp_path) == ["journal"]
    journal.close()


def create_large_journal(path: Path) -> tuple[ReaperJournal, SimpleQueue[int]]:
    journal, synced = create_journal(path)
    line = '{"start":[1,1],"pad":"' + "x" * 100_000 + '"}'
    for _ in range(200):
        journal.append(line)
    journal.flush()
    return journal, synced


def test_a_failed_rewrite_keeps_the_journal_and_is_retried_after_growth(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "journal"
    journal, _ = create_large_journal(path)

    def fail(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    journal.compact(lambda: [END], is_idle=False)
    journal.flush()
    assert "cannot rewrite the journal: [Errno 28] No space" in capsys.readouterr().err
    assert os.listdir(tmp_path) == ["journal"]
    assert not journal.is_broken
    monkeypatch.undo()
    # Not in every turn: the journal has not grown since.
    journal.compact(lambda: pytest.fail("asked at once"), is_idle=False)
    journal.append('{"pad":"' + "x" * 2**20 + '"}')
    journal.flush()
    journal.compact(lambda: [END], is_idle=False)
    journal.flush()
    assert path.stat().st_size < 1000
    journal.close()


def test_a_mostly_live_journal_is_not_encoded_every_turn(
    tmp_path: Path,
) -> None:
    path = tmp_path / "journal"
    journal, _ = create_large_journal(path)
    size = path.stat().st_size
    journal.compact(lambda: ["x" * (size - 100)], is_idle=False)
    journal.compact(lambda: pytest.fail("asked again"), is_idle=False)
    assert path.stat().st_size == size
    # Once everything is acknowledged, it is truncated all the same.
    journal.compact(list, is_idle=True)
    journal.flush()
    assert path.stat().st_size < 100
    journal.close()


def test_a_rewrite_without_a_directory_sync_leaves_the_journal_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "journal"
    journal, synced = create_large_journal(path)
    real, count = os.fsync, iter(range(9))

    def fail_for_the_directory(fd: int) -> None:
        if next(count) == 1:
            raise OSError(5, "Input/output error")
        real(fd)

    monkeypatch.setattr(os, "fsync", fail_for_the_directory)
    journal.compact(lambda: [END], is_idle=False)
    journal.flush()
    assert synced.get(timeout=0) == -1
    assert journal.is_broken
    journal.rewrite([END], 7)
    assert synced.get(timeout=10) == 7
    assert not journal.is_broken
    assert set(read_journal(path).ended) == {(1, 1)}
    journal.close()


def test_after_a_failed_sync_nothing_is_durable_until_a_rewrite(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal, synced = create_journal(tmp_path / "journal")

    def fail(fd: int) -> None:
        raise OSError(5, "Input/output error")

    journal.append(END)
    journal.flush()
    monkeypatch.setattr(os, "fdatasync", fail)
    journal.request_sync(1)
    assert synced.get(timeout=10) == -1
    monkeypatch.undo()
    # A second fsync would succeed, although the bytes are lost.
    journal.request_sync(2)
    journal.rewrite([END], 3)
    assert synced.get(timeout=10) == 3
    assert set(read_journal(tmp_path / "journal").ended) == {(1, 1)}
    journal.close()


def append_direct(journal: ReaperJournal, record: str) -> bool:
    """Append a record as the spawner does. Return False if the journal does not permit it now."""
    direct = journal.prepare_direct(record)
    if direct is None:
        return False
    fd, data = direct
    assert os.write(fd, data) == len(data)
    return True


def test_a_record_is_not_appended_directly_before_the_header_or_a_snapshot_is_written(
    tmp_path: Path,
) -> None:
    path = tmp_path / "journal"
    journal, _ = create_journal(path)
    assert not append_direct(journal, '{"start":[1,1]}')
    journal.flush()
    assert append_direct(journal, '{"start":[1,1]}')
    for job in range(20_000):
        journal.append(f'{{"start":[{job},2]}}')
    journal.flush()
    journal.compact(list, is_idle=True)
    # The snapshot would remove this record.
    assert not append_direct(journal, '{"start":[2,1]}')
    journal.flush()
    assert append_direct(journal, '{"start":[2,1]}')
    journal.append(END)
    journal.close()
    records = read_journal(path)
    assert records.reaper == {"reaper": "r1"}
    assert set(records.unfinished) == {(2, 1)}
    assert set(records.ended) == {(1, 1)}


def test_direct_records_follow_the_journal_into_its_new_file(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    journal, _ = create_large_journal(path)
    assert append_direct(journal, '{"start":[1,1]}')
    before = os.stat(path).st_ino
    journal.compact(lambda: [END], is_idle=False)
    journal.flush()
    assert os.stat(path).st_ino != before
    assert append_direct(journal, '{"start":[2,1]}')
    journal.close()
    assert set(read_journal(path).unfinished) == {(2, 1)}


def test_a_direct_record_that_was_cut_spoils_no_other(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    journal, _ = create_journal(path)
    journal.flush()
    direct = journal.prepare_direct('{"start":[2,1]}')
    assert direct
    os.write(direct[0], direct[1][:8])
    journal.append(END)
    journal.flush()
    os.write(direct[0], direct[1][:8])
    assert append_direct(journal, '{"start":[3,1]}')
    journal.close()
    records = read_journal(path)
    assert set(records.ended) == {(1, 1)}
    assert set(records.unfinished) == {(3, 1)}


def test_a_failed_write_before_a_snapshot_does_not_lose_the_snapshot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "journal"
    journal, _ = create_large_journal(path)

    def fail(fd: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    journal.append('{"start":[2,1]}')
    journal.compact(lambda: [END], is_idle=False)
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", fail)
        with pytest.raises(OSError, match="No space"):
            journal.flush()
    journal.flush()
    journal.close()
    assert path.stat().st_size < 1000
    assert set(read_journal(path).ended) == {(1, 1)}
