"""Append-only log of records: torn lines, failed writes, rewriting while records are appended."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mythjobs.process.record_log import LogBroken, RecordLog, read_records


def test_a_missing_log_has_no_records(tmp_path: Path) -> None:
    assert list(read_records(tmp_path / "log")) == []


@pytest.mark.parametrize("torn", [b'{"b":', b"\0" * 512, b"[1]\n", b"\xff\n"])
def test_lines_that_are_no_records_are_skipped(tmp_path: Path, torn: bytes) -> None:
    log = RecordLog(tmp_path / "log")
    log.append(b'{"a":1}\n' + torn)
    log.close()
    assert list(read_records(tmp_path / "log")) == [{"a": 1}]


def test_an_existing_log_is_continued(tmp_path: Path) -> None:
    for number in range(2):
        log = RecordLog(tmp_path / "log")
        log.append(b'{"a":%d}\n' % number)
        log.close()
    assert log.size_bytes == (tmp_path / "log").stat().st_size
    assert list(read_records(tmp_path / "log")) == [{"a": 0}, {"a": 1}]


def test_bytes_that_were_not_written_are_written_by_the_next_append(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = RecordLog(tmp_path / "log")
    real = os.write

    def write_half(fd: int, data: bytes) -> int:
        monkeypatch.setattr(os, "write", fail)
        return real(fd, data[:4])

    def fail(fd: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", write_half)
    with pytest.raises(OSError, match="No space"):
        log.append(b'{"a":1}\n')
    monkeypatch.undo()
    # Another thread appends a line of its own meanwhile.
    os.write(log.fd, b'\n{"c":3}\n')
    log.append(b'{"b":2}\n')
    assert list(read_records(tmp_path / "log")) == [{"c": 3}, {"a": 1}, {"b": 2}]
    log.close()


def test_records_appended_during_a_rewrite_are_kept(tmp_path: Path) -> None:
    log = RecordLog(tmp_path / "log")
    log.append(b'{"old":1}\n')
    log.begin_rewrite()
    log.append(b'{"new":2}\n')
    log.rewrite(b'{"live":0}\n')
    log.append(b'{"new":3}\n')
    assert list(read_records(tmp_path / "log")) == [{"live": 0}, {"new": 2}, {"new": 3}]
    assert log.size_bytes == (tmp_path / "log").stat().st_size
    assert os.listdir(tmp_path) == ["log"]
    log.close()


def test_a_failed_sync_breaks_the_log_until_it_is_rewritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = RecordLog(tmp_path / "log")

    def fail(fd: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", fail)
    with pytest.raises(OSError, match="Input/output"):
        log.sync()
    monkeypatch.undo()
    with pytest.raises(LogBroken, match="an earlier fsync"):
        log.sync()
    log.rewrite(b"")
    log.sync()
    assert not log.is_broken
    log.close()
