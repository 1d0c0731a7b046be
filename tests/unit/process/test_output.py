"""Output files: stored head and tail of a stream, concurrent readers, and the writer thread."""

from __future__ import annotations

import os
import random
import resource
import signal
import threading
from pathlib import Path

import pytest

from mythjobs.model.output_window import SMALL_OUTPUT_BYTES, OutputWindow
from mythjobs.process.reaper.output import OutputSink, OutputWriter
from mythjobs.process.reaper.output_file import OutputFile, read_range, read_window

PART = 256 * 1024


def test_head_and_tail_agree_with_slices_of_the_stream(tmp_path: Path) -> None:
    chance = random.Random(7)
    for case in range(300):
        head, tail = chance.choice([0, 1, 5, 64]), chance.choice([0, 1, 7, 64])
        data = chance.randbytes(chance.randrange(1, 300))
        path = str(tmp_path / str(case))
        spool = OutputFile(path, head, tail)
        position = 0
        while position < len(data):
            size = chance.choice([1, 3, 50, 200])
            spool.write(memoryview(data)[position : position + size])
            position += size
            check_window(path, spool.window, data[:position], head, tail)
        spool.close()
        check_window(path, spool.window, data, head, tail)


def check_window(path: str, kept: OutputWindow, data: bytes, head: int, tail: int) -> None:
    """Check the window and all reads; `data` is everything written so far."""
    assert kept.written == len(data)
    assert kept.head == min(head, len(data))
    assert kept.tail == min(tail, len(data) - kept.head)
    ends = data[: kept.head] + data[len(data) - kept.tail :]
    assert read_all(path, kept) == ends
    for offset in range(0, len(data) + 2, 7):
        begin, got = read_range(path, kept, offset, 10)
        assert begin >= min(offset, len(data))
        assert data[begin : begin + len(got)] == got
        assert got or begin == len(data)


def read_all(path: str, kept: OutputWindow) -> bytes:
    data = b""
    while part := read_window(path, kept, len(data), 13):
        data += part
    return data


def test_a_reader_learns_which_bytes_were_overwritten(tmp_path: Path) -> None:
    path = str(tmp_path / "stream")
    spool = OutputFile(path, 0, 100)
    spool.write(memoryview(bytes(range(100))))
    known = spool.window
    spool.write(memoryview(b"x" * 30))
    # The reader knows of 100 bytes, of which the first 30 are overwritten.
    assert read_range(path, known, 0, 50) == (30, bytes(range(30, 50)))
    assert read_range(path, known, 0, 20) == (20, b"")
    spool.close()


def test_a_deleted_directory_is_created_again(tmp_path: Path) -> None:
    # All output was lost from then on, until the agent was restarted.
    path = str(tmp_path / "output" / "1.1.1")
    spool = OutputFile(path, 4, 4)
    spool.write(memoryview(b"headtail"))
    spool.close()
    assert read_all(path, spool.window) == b"headtail"


def test_no_file_is_created_before_the_first_byte(tmp_path: Path) -> None:
    spool = OutputFile(str(tmp_path / "stream"), 10, 10)
    spool.close()
    assert not os.listdir(tmp_path)
    assert spool.window == OutputWindow(0, 0, 0)
    assert read_range(str(tmp_path / "stream"), spool.window, 0, 10) == (0, b"")


@pytest.mark.parametrize("limit", [0, 5, 10, 12])
def test_bytes_refused_by_the_disk_are_counted_as_dropped(tmp_path: Path, limit: int) -> None:
    """RLIMIT_FSIZE of a child process makes writes fail as on a full disk."""
    child = os.fork()
    if child == 0:
        os._exit(write_under(str(tmp_path / "stream"), limit))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def write_under(path: str, limit: int) -> int:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    spool = OutputFile(path, 10, 8)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    spool.write(memoryview(b"0123456789ab"))
    spool.write(memoryview(b"cdefghijklmn"))
    refused = spool.window
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    spool.write(memoryview(b"opq"))
    whole = b"0123456789abcdefghijklmnopq"
    got = read_all(path, spool.window)
    kept = spool.window
    right = whole[: kept.head] + whole[len(whole) - kept.tail :]
    # The head ends where the disk was full; the tail begins once there is space again.
    ok = refused == (24, min(limit, 10), 0) and kept == (27, min(limit, 10), 3) and got == right
    return 0 if ok else 1


def test_output_is_on_disk_when_on_written_is_called(tmp_path: Path) -> None:
    path = tmp_path / "stream"
    is_written = threading.Event()
    stream = OutputSink(OutputWriter(), OutputFile(str(path), 1000, 1000), is_written.set)
    stream.release()
    for i in range(100):
        stream.write(memoryview(b"%d\n" % i))
    while stream.has_queued:
        assert is_written.wait(10)
        is_written.clear()
    assert path.read_bytes() == b"".join(b"%d\n" % i for i in range(100))
    assert stream.written_bytes == stream.window.written == stream.window.head
    stream.close()


def test_output_is_held_back_until_it_is_released_or_too_long(tmp_path: Path) -> None:
    writer, is_written = OutputWriter(), threading.Event()
    for name, size in (("released", 3), ("long", 3 + SMALL_OUTPUT_BYTES)):
        path = tmp_path / name
        sink = OutputSink(writer, OutputFile(str(path), 10_000, 0), is_written.set)
        sink.write(memoryview(b"a"))
        sink.write(memoryview(b"b"))
        assert (sink.held, sink.window, sink.has_queued) == (b"ab", (2, 2, 0), False)
        if name == "released":
            sink.release()
        sink.write(memoryview(b"c" * (size - 2)))
        assert sink.held == b""
        while sink.has_queued:
            assert is_written.wait(10)
            is_written.clear()
        assert path.read_bytes() == b"ab" + b"c" * (size - 2)
        assert sink.window == (size, size, 0)
        sink.close()


class FaultyFile(OutputFile):
    """The first write of a part fails with an internal error."""

    has_failed = False

    def _write_head(self, data: memoryview) -> int:
        if not self.has_failed:
            self.has_failed = True
            raise MemoryError
        return super()._write_head(data)


def test_an_internal_error_of_the_writer_drops_bytes_and_blocks_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    # Otherwise the reaper would wait for the output for ever before it reports the end.
    writer, is_written = OutputWriter(), threading.Event()
    stream = OutputSink(writer, FaultyFile(str(tmp_path / "stream"), 1000, 10), is_written.set)
    stream.release()
    stream.write(memoryview(b"lost"))
    assert is_written.wait(10)
    is_written.clear()
    stream.write(memoryview(b"kept"))
    assert is_written.wait(10)
    assert not stream.has_queued
    assert stream.window == (8, 0, 4)
    assert "MemoryError" in capfd.readouterr().err
    # The bytes of the failed write take no space in the queue any more.
    assert writer.reserve(8 * 2**20)
    stream.close()


@pytest.mark.slow
def test_a_hanging_disk_drops_bytes_and_blocks_nothing(tmp_path: Path) -> None:
    # Opening a FIFO without a reader blocks as a dead network file system does.
    path = tmp_path / "stream"
    os.mkfifo(path)
    is_written = threading.Event()
    stream = OutputSink(OutputWriter(), OutputFile(str(path), 100 * 2**20, 100), is_written.set)
    for _ in range(40):
        stream.write(memoryview(bytes(PART)))
    assert stream.written_bytes == 40 * PART
    assert stream.has_queued
    with path.open("rb") as file:
        assert len(file.read(32 * PART)) == 32 * PART
        assert is_written.wait(10)
    assert stream.window.head == 32 * PART
    assert stream.window.dropped == 8 * PART
    stream.close()
