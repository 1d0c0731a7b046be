"""Reads of whole files: a path may name a device, a pipe, a directory, a file that is too large."""

from __future__ import annotations

import io
import os
import socket
import threading
from pathlib import Path

import pytest

from mythjobs.config.bounded_files import read_file, read_input


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    return path


def _why(error: pytest.ExceptionInfo[OSError]) -> str:
    return error.value.strerror or ""


@pytest.mark.parametrize("read", [read_input, read_file])
def test_a_file_of_the_bound_is_read_and_a_larger_one_refused(read, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "file"
    path.write_bytes(b"x" * 1024)
    assert read(path, 1024) == b"x" * 1024
    with pytest.raises(OSError) as error:
        read(path, 1023)
    assert _why(error) == "has more than 1023B, the largest size read"


def test_a_sparse_file_of_a_terabyte_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with path.open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(OSError) as error:
        read_file(path)
    assert _why(error) == "has more than 4MiB, the largest size read"


def test_a_device_without_end_is_refused() -> None:
    with pytest.raises(OSError) as error:
        read_input("/dev/zero")
    assert _why(error) == "has more than 4MiB, the largest size read"
    with pytest.raises(OSError) as error:
        read_file("/dev/zero")
    assert _why(error) == "is not a regular file"


def test_a_pipe_is_read_to_its_end_where_a_user_names_it(pipe: Path) -> None:
    writer = threading.Thread(target=pipe.write_bytes, args=(b"text",))
    writer.start()
    assert read_input(pipe) == b"text"
    writer.join()


def test_a_pipe_that_is_found_in_a_directory_does_not_block(pipe: Path) -> None:
    with pytest.raises(OSError) as error:
        read_file(pipe)
    assert _why(error) == "is not a regular file"


@pytest.mark.parametrize("read", [read_input, read_file])
def test_a_socket_is_named_as_such(read, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        with pytest.raises(OSError) as error:
            read(tmp_path / "socket")
    assert _why(error) == "is a socket or a device without a driver"


@pytest.mark.parametrize("read", [read_input, read_file])
def test_a_directory_is_refused(read, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(IsADirectoryError):
        read(tmp_path)


def test_stdin_is_read_up_to_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"12345")))
    assert read_input("-") == b"12345"
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"12345")))
    with pytest.raises(OSError) as error:
        read_input("-", 4)
    assert _why(error) == "has more than 4B, the largest size read"
