"""Output on its way to the disk: in order, told when it is there, and never waited for long."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from mythjobs.process.reaper.output import Spool
from mythjobs.process.reaper.scribe import Scribe, Written

PART = 256 * 1024


def test_what_was_written_is_on_the_disk_when_that_is_told(tmp_path: Path) -> None:
    path = tmp_path / "stream"
    told = threading.Event()
    stream = Written(Scribe(), Spool(str(path), 1000, 1000), told.set)
    for i in range(100):
        stream.write(memoryview(b"%d\n" % i))
    while stream.busy:
        assert told.wait(10)
        told.clear()
    assert path.read_bytes() == b"".join(b"%d\n" % i for i in range(100))
    assert stream.written == stream.kept.written == stream.kept.head
    stream.close()


@pytest.mark.slow
def test_a_disk_that_hangs_costs_bytes_and_nothing_else(tmp_path: Path) -> None:
    # To open a FIFO that nobody reads hangs as a dead network disk does.
    path = tmp_path / "stream"
    os.mkfifo(path)
    told = threading.Event()
    stream = Written(Scribe(), Spool(str(path), 100 * 2**20, 100), told.set)
    for _ in range(40):
        stream.write(memoryview(bytes(PART)))
    assert stream.written == 40 * PART
    assert stream.busy
    with path.open("rb") as file:
        assert len(file.read(32 * PART)) == 32 * PART
        assert told.wait(10)
    assert stream.kept.head == 32 * PART
    assert stream.kept.dropped == 8 * PART
    stream.close()
