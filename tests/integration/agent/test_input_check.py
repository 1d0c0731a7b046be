"""The check of input files: which directory is missing, and a disk that does not answer."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from mythjobs.agent import input_check
from mythjobs.agent.core.attempt import Key
from mythjobs.agent.input_check import InputChecker, find_missing, find_outside


def test_the_first_missing_directory_is_named(tmp_path: Path) -> None:
    file = tmp_path / "a.ts"
    file.touch()
    assert find_missing([str(tmp_path), str(file)]) == ""
    assert find_missing([str(file), str(tmp_path / "b" / "c" / "d")]) == str(tmp_path / "b")
    assert find_missing([str(tmp_path / "e")]) == str(tmp_path / "e")


def check(*paths: str) -> tuple[Key, str]:
    async def run() -> tuple[Key, str]:
        done: asyncio.Future[tuple[Key, str]] = asyncio.get_running_loop().create_future()
        checker = InputChecker(lambda key, missing, _: done.set_result((key, missing)))
        checker.check((7, 1), paths)
        async with asyncio.timeout(60):
            return await done

    return asyncio.run(run())


def test_the_result_arrives_in_the_event_loop(tmp_path: Path) -> None:
    assert check(str(tmp_path)) == ((7, 1), "")
    assert check(str(tmp_path / "x")) == ((7, 1), str(tmp_path / "x"))


def test_a_disk_that_hangs_counts_as_one_without_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = threading.Event()
    monkeypatch.setattr(input_check, "_TIMEOUT_S", 0.01)
    monkeypatch.setattr(input_check, "find_missing", lambda _: str(answer.wait(60)))
    try:
        assert check("/mnt/nas/a.ts") == ((7, 1), "/mnt/nas/a.ts")
    finally:
        answer.set()


def test_paths_outside_the_roots_are_found_through_symbolic_links(tmp_path: Path) -> None:
    tv, other = tmp_path / "tv", tmp_path / "other"
    for each in (tv, other):
        each.mkdir()
    (tv / "out").symlink_to(other)
    (tmp_path / "link").symlink_to(tv)
    roots = [str(tmp_path / "link")]
    inside = [f"{tv}/a.ts", f"{tv}/new/b.ts", str(tv), f"{tmp_path}/link/c"]
    assert find_outside(inside, roots) == ""
    for path in (f"{tv}/out/a", f"{tv}/../other", str(tmp_path), f"{tv}2", "/etc/passwd"):
        assert find_outside([*inside, path], roots) == path


def test_a_lack_of_threads_returns_the_job(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(input_check, "_MAX_THREADS", 0)
    assert check(str(tmp_path)) == ((7, 1), str(tmp_path))


@pytest.mark.parametrize("path", ["film.ts", "../film.ts", "", "/\0"])
def test_a_path_that_a_faulty_master_sends_is_outside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "film.ts").touch()
    assert find_outside([path], [str(tmp_path), "/srv"]) == (path or ".")
    assert find_outside([str(tmp_path / "film.ts"), path], [str(tmp_path)]) == (path or ".")
