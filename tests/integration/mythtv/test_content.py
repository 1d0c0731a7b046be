"""Copies of recordings: broken connections, full disks, checks."""

import hashlib
import os
import struct
from pathlib import Path

import pytest

from mythjobs.errors import BadRequest, ProtocolError, Unreachable
from mythjobs.mythtv.services.client import Services
from mythjobs.mythtv.services.content import (
    DiskFull,
    FetchOptions,
    RecordingFetcher,
    check_copy,
    compute_hash,
)
from tests.support.mythtv.services import FakeFile, FakeServices

OPTIONS = FetchOptions(reserve_bytes=0)


def pattern(offset: int, count: int) -> bytes:
    """Bytes of a file of any size: each 8 bytes are their own number, so none is like another."""
    first = offset // 8
    numbers = range(first, (offset + count + 7) // 8)
    return struct.pack(f"<{len(numbers)}Q", *numbers)[offset % 8 :][:count]


def a_file(size: int, *breaks: int) -> FakeFile:
    return FakeFile(size, pattern, list(breaks))


def fetch(
    services: Services, path: Path, options: FetchOptions = OPTIONS
) -> tuple[RecordingFetcher, list[str]]:
    sentences: list[str] = []
    fetcher = RecordingFetcher(
        services, 1, path, options, on_interruption=sentences.append, sleep=lambda s: None
    )
    return fetcher, sentences


def test_a_broken_copy_continues_where_it_was(
    fake: FakeServices, services: Services, tmp_path: Path
) -> None:
    size = 3_000_001
    fake.files[1] = a_file(size, 1_000_000, 2_000_003)
    fetcher, sentences = fetch(services, tmp_path / "copy.ts")
    found = fetcher.fetch()
    assert found.path.read_bytes() == pattern(0, size)
    assert found.sha256 == hashlib.sha256(pattern(0, size)).hexdigest()
    assert (found.size_bytes, found.interruptions) == (size, 2)
    assert "continuing at byte 1000000" in sentences[0]
    assert len(fake.requests) == 3
    assert os.listdir(tmp_path) == ["copy.ts"]


@pytest.mark.slow
def test_a_large_copy_is_correct_although_the_connection_breaks_twice(
    fake: FakeServices, services: Services, tmp_path: Path
) -> None:
    size, block = 300 * 2**20 + 5, 2**18
    zeros = bytes(block)

    def read(offset: int, count: int) -> bytes:
        """Mostly zeros; each hundredth block is like no other."""
        count = min(count, block - offset % block)
        return zeros[:count] if offset // block % 100 else pattern(offset, count)

    fake.files[1] = FakeFile(size, read, [100 * 2**20 + 7, 250 * 2**20 + 1])
    progress: list[tuple[int, int]] = []
    found = RecordingFetcher(
        services, 1, tmp_path / "copy.ts", OPTIONS,
        on_progress=lambda done, size: progress.append((done, size)), sleep=lambda s: None,
    ).fetch()  # fmt: skip
    expected, copied = hashlib.sha256(), hashlib.sha256()
    for offset in range(0, size, block):
        expected.update(read(offset, min(block, size - offset)))
    with found.path.open("rb") as file:
        while data := file.read(2**20):
            copied.update(data)
    assert found.sha256 == copied.hexdigest() == expected.hexdigest()
    assert (found.size_bytes, found.interruptions) == (size, 2)
    assert progress[-1] == (size, size)


@pytest.mark.parametrize("size", [0, 1, 65535, 65536, 200_000])
def test_files_of_any_size_are_copied_and_checked(
    fake: FakeServices, services: Services, tmp_path: Path, size: int
) -> None:
    fake.files[1] = a_file(size)
    fetcher, _ = fetch(services, tmp_path / "copy.ts")
    path = fetcher.fetch().path
    assert path.read_bytes() == pattern(0, size)
    fake.hashes["a.ts"] = compute_hash(path)
    check_copy(services, path, 1, "a.ts", "Default")


def test_a_link_with_the_name_of_the_unfinished_copy_is_not_followed(
    fake: FakeServices, services: Services, tmp_path: Path
) -> None:
    fake.files[1] = FakeFile(9, pattern, [])
    (tmp_path / "copy.ts.part").symlink_to(tmp_path / "victim")
    fetcher, _ = fetch(services, tmp_path / "copy.ts")
    fetcher.fetch()
    assert [each.name for each in tmp_path.iterdir()] == ["copy.ts"]


def test_a_backend_without_ranges_sends_the_whole_file_again(
    fake: FakeServices, services: Services, tmp_path: Path
) -> None:
    fake.files[1] = a_file(500_000, 300_000)
    fake.files[1].honours_ranges = False
    fetcher, _ = fetch(services, tmp_path / "copy.ts")
    assert fetcher.fetch().path.read_bytes() == pattern(0, 500_000)


def test_a_changed_file_is_not_mixed_with_the_old_one(
    fake: FakeServices, services: Services, tmp_path: Path
) -> None:
    fake.files[1] = a_file(500_000, 300_000)

    def change(seconds: float) -> None:
        fake.files[1] = a_file(600_000)

    fetcher = RecordingFetcher(services, 1, tmp_path / "copy.ts", OPTIONS, sleep=change)
    with pytest.raises(ProtocolError, match="was changed while it was copied"):
        fetcher.fetch()
    assert os.listdir(tmp_path) == []


def test_the_disk_is_not_filled(fake: FakeServices, services: Services, tmp_path: Path) -> None:
    fake.files[1] = a_file(500_000)
    fetcher, _ = fetch(services, tmp_path / "copy.ts", FetchOptions(reserve_bytes=2**60))
    with pytest.raises(DiskFull, match="must stay free, but only"):
        fetcher.fetch()
    assert os.listdir(tmp_path) == []


def test_a_backend_that_stays_away_ends_the_copy(
    fake: FakeServices, services: Services, tmp_path: Path
) -> None:
    fake.files[1] = a_file(500_000, 300_000)

    def fail(seconds: float) -> None:
        fake.is_failing = True

    options = FetchOptions(reserve_bytes=0, give_up_s=0.2)
    fetcher = RecordingFetcher(services, 1, tmp_path / "copy.ts", options, sleep=fail)
    with pytest.raises(Unreachable, match="failed at Content/GetRecording"):
        fetcher.fetch()
    assert os.listdir(tmp_path) == []


def test_an_unknown_recording(services: Services, tmp_path: Path) -> None:
    fetcher = RecordingFetcher(services, 99999, tmp_path / "copy.ts", OPTIONS)
    with pytest.raises(BadRequest, match="refuses Content/GetRecording"):
        fetcher.fetch()


def test_a_wrong_copy_is_noticed(fake: FakeServices, services: Services, tmp_path: Path) -> None:
    fake.files[1] = a_file(200_000)
    path = tmp_path / "copy.ts"
    fake.hashes["a.ts"] = "0123456789abcdef"
    # Another way of hashing: the bytes are compared.
    path.write_bytes(pattern(0, 200_000))
    check_copy(services, path, 1, "a.ts", "Default")
    path.write_bytes(pattern(0, 199_999) + b"x")
    with pytest.raises(ProtocolError, match="differs from the recording"):
        check_copy(services, path, 1, "a.ts", "Default")
    # Without a hash nothing more is known.
    check_copy(services, path, 1, "nosuch.ts", "Default")


def test_the_hash_adds_the_size_and_the_numbers_at_both_ends(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(struct.pack("<Q", 5) + bytes(100_000) + struct.pack("<Q", 7))
    assert int(compute_hash(path), 16) == 100_016 + 5 + 7
    path.write_bytes(struct.pack("<Q", 2**64 - 1) + bytes(8))
    assert int(compute_hash(path), 16) == (16 + 2**64 - 1) % 2**64
    path.write_bytes(b"")
    assert compute_hash(path) == "NULL"
