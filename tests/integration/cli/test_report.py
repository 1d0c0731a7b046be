"""`mythjobs report`, with a real FIFO."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.integration.cli.conftest import Call


@pytest.fixture
def fifo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "42.1.status"
    os.mkfifo(path)
    monkeypatch.setenv("MYTHJOBS_JOB", "42")
    monkeypatch.setenv("MYTHJOBS_STATUS", str(path))
    return path


@pytest.fixture
def reader(fifo: Path) -> Iterator[int]:
    """Return a descriptor like the reaper's: it reads what the job writes."""
    fd = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
    yield fd
    os.close(fd)


@pytest.mark.parametrize(
    "arguments, lines",
    [
        (["--progress", "42.5"], b"progress 42.5\n"),
        (["--progress", "42,5%"], b"progress 42.5\n"),
        (["--progress", "100.4"], b"progress 100\n"),
        (["--progress", "-3"], b"progress 0\n"),
        (["--eta", "310"], b"eta 310.0\n"),
        (["--eta", "5m10s"], b"eta 310.0\n"),
        (["--eta", "1h30m"], b"eta 5400.0\n"),
        (["--eta", "05:10"], b"eta 310.0\n"),
        (["--comment", "pass 2\nof é"], "comment pass 2 of é\n".encode()),
        (["--comment", ""], b"comment \n"),
        (
            ["--eta", "1", "--comment", "two words", "--progress", "7"],
            b"progress 7\ncomment two words\neta 1.0\n",
        ),
    ],
)
def test_a_report_is_written_to_the_pipe(
    call: Call, reader: int, arguments: list[str], lines: bytes
) -> None:
    assert call("report", *arguments) == (0, "", "")
    assert os.read(reader, 4096) == lines


def test_a_comment_in_another_encoding_keeps_its_bytes(call: Call, reader: int) -> None:
    assert call("report", "--comment", os.fsdecode(b"caf\xe9")).code == 0
    assert os.read(reader, 4096) == b"comment caf\xe9\n"


def test_a_long_comment_is_cut_so_that_reports_do_not_mix(call: Call, reader: int) -> None:
    assert call("report", "--progress", "1", "--eta", "1", "--comment", "𝄞" * 9999).code == 0
    assert len(os.read(reader, 65536)) < 4096  # PIPE_BUF


@pytest.mark.parametrize("arguments", [[], ["--progress", "x"], ["--eta", "x"], ["--progress", ""]])
def test_invalid_options_are_refused(call: Call, reader: int, arguments: list[str]) -> None:
    assert call("report", *arguments).code == 2


@pytest.mark.parametrize("exists", [True, False])
def test_a_report_without_reader_does_not_fail_the_job(
    call: Call, fifo: Path, exists: bool
) -> None:
    if not exists:
        fifo.unlink()
    done = call("report", "--progress", "5")
    assert done.code == 0
    assert "its reader is gone; the job continues" in done.err
    assert call("report", "--quiet", "--progress", "5") == (0, "", "")


@pytest.mark.slow  # waits for a second
def test_a_report_into_a_full_pipe_does_not_wait_forever(call: Call, reader: int) -> None:
    with suppress(BlockingIOError):
        while True:
            os.write(reader, b"x" * 4096)
    done = call("report", "--progress", "5")
    assert done.code == 0
    assert "its reader does not read; the job continues" in done.err


def test_a_report_outside_a_job_is_an_error(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MYTHJOBS_STATUS", raising=False)
    monkeypatch.delenv("MYTHJOBS_JOB", raising=False)
    done = call("report", "--progress", "5")
    assert done.code == 2
    assert done.err.startswith("mythjobs: this is not a job of mythjobs")
    assert call("report", "--quiet", "--progress", "5") == (0, "", "")


def test_a_command_without_the_setting_is_named(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MYTHJOBS_STATUS", raising=False)
    monkeypatch.setenv("MYTHJOBS_JOB", "42")
    done = call("report", "--progress", "5")
    assert done.code == 0
    assert 'add progress = "status" to the definition' in done.err
