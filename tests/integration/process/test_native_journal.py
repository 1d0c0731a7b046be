"""The reaper's journal with the appender in C: what is durable, in which order, and full disks."""

from __future__ import annotations

import os
import resource
import signal
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mythjobs.process.event_loop import EventLoop
from mythjobs.process.reaper.journal import read_journal
from mythjobs.process.reaper.native_journal import NativeJournal
from mythjobs.process.spawn import native, native_append

HEADER = '{"reaper":{"reaper":"r1"}}'


def end(seq: int, padding: str = "") -> str:
    return f'{{"end":{{"job":{seq},"n":1,"seq":{seq},"padding":"{padding}"}}}}'


class Fixture:
    """A journal with its event loop. `synced` has the reported sequence numbers."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "journal"
        self.loop = EventLoop()
        self.synced: list[int] = []
        self.failures = 0
        self.journal = NativeJournal(
            self.loop,
            str(self.path),
            HEADER,
            lambda seq: self.loop.call_soon(lambda: self.synced.append(seq)),
            lambda: self.loop.call_soon(self._count_failure),
        )
        # The header, which the journal's thread writes.
        self.journal.request_sync(0)
        self.journal.flush()

    def _count_failure(self) -> None:
        self.failures += 1

    def run_until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self.loop.run_once()
            self.journal.serve_waiting()

    def sync(self, seq: int) -> None:
        self.journal.append(end(seq))
        self.journal.request_sync(seq)
        self.run_until(lambda: self.synced[-1:] == [seq])

    def read_ended(self) -> list[int]:
        return [job for job, _ in read_journal(self.path).ended]


@pytest.fixture
def fixture(tmp_path: Path) -> Iterator[Fixture]:
    if not Path(native.LIBRARY).exists():
        pytest.skip("the appender is not compiled here")
    found = Fixture(tmp_path)
    yield found
    found.journal.close()
    found.loop.close()


def test_an_end_is_in_the_file_when_it_is_reported_as_synced(fixture: Fixture) -> None:
    for seq in range(1, 20):
        fixture.sync(seq)
        assert fixture.read_ended() == list(range(1, seq + 1))
    assert fixture.failures == 0


def test_requests_during_an_append_share_the_next_one(fixture: Fixture) -> None:
    for seq in range(1, 200):
        fixture.journal.append(end(seq))
        fixture.journal.request_sync(seq)
    fixture.run_until(lambda: fixture.synced[-1:] == [199])
    assert fixture.read_ended() == list(range(1, 200))
    # Two as a rule; a few more if the machine is busy.
    assert fixture.synced == sorted(fixture.synced)
    assert len(fixture.synced) < 50


def test_a_flush_in_another_thread_writes_after_the_append_in_progress(fixture: Fixture) -> None:
    for seq in range(1, 300, 2):
        fixture.journal.append(end(seq))
        fixture.journal.request_sync(seq)
        fixture.journal.append(end(seq + 1))
        thread = threading.Thread(target=fixture.journal.flush)
        thread.start()
        thread.join()
        assert fixture.read_ended() == list(range(1, seq + 2))
    fixture.run_until(lambda: fixture.synced[-1:] == [299])


def test_close_writes_and_syncs_what_waits(tmp_path: Path, fixture: Fixture) -> None:
    (tmp_path / "other").mkdir()
    other = Fixture(tmp_path / "other")
    for seq in (1, 2):
        other.journal.append(end(seq))
        other.journal.request_sync(seq)
    other.journal.close()
    assert other.read_ended() == [1, 2]
    other.run_until(lambda: 2 in other.synced)
    other.loop.close()


def test_a_snapshot_replaces_the_records_and_appends_continue_after_it(fixture: Fixture) -> None:
    fixture.sync(1)
    fixture.journal.rewrite([end(7)], 1)
    fixture.sync(8)
    assert fixture.read_ended() == [7, 8]
    assert fixture.failures == 0


@contextmanager
def limit_file_size(size: int) -> Iterator[None]:
    """Writes beyond this size of a file fail, in all threads, as on a full disk."""
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_records_that_a_full_disk_cuts_are_written_later(fixture: Fixture) -> None:
    fixture.sync(1)
    with limit_file_size(fixture.path.stat().st_size + 100):
        fixture.journal.append(end(2, padding="x" * 200))
        fixture.journal.request_sync(2)
        # The append fails; then the journal's thread tries every second.
        fixture.run_until(lambda: bool(fixture.journal.write_error))
        assert fixture.read_ended() == [1]
    fixture.sync(3)
    assert fixture.synced[0] == 1
    assert fixture.read_ended() == [1, 2, 3]


def test_nothing_is_synced_after_a_failed_sync_until_the_journal_is_rewritten(
    fixture: Fixture,
) -> None:
    fixture.sync(1)
    # A pipe can be written to but not synced: fdatasync(2) fails with EINVAL.
    read_fd, write_fd = os.pipe()
    file_fd = fixture.journal._file.fd
    saved = os.dup(file_fd)
    os.dup2(write_fd, file_fd)
    fixture.journal.append(end(2))
    fixture.journal.request_sync(2)
    fixture.run_until(lambda: fixture.failures == 1)
    os.dup2(saved, file_fd)
    for fd in (read_fd, write_fd, saved):
        os.close(fd)
    assert fixture.journal.is_broken
    fixture.journal.rewrite([end(1), end(2)], 2)
    fixture.run_until(lambda: fixture.synced == [1, 2])
    assert fixture.read_ended() == [1, 2]
    fixture.sync(3)


def test_a_library_of_another_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    if not Path(native.LIBRARY).exists():
        pytest.skip("the appender is not compiled here")
    monkeypatch.setattr(native_append, "_APPEND", struct.Struct("=7i"))
    loop = EventLoop()
    with pytest.raises(OSError, match="compiled from another version; install mythjobs again"):
        native_append.NativeAppender(loop, lambda: None)
    loop.close()
