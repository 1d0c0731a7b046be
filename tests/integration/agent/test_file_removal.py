"""Removal of attempts' files, on a real disk."""

import asyncio
import logging
import os
from pathlib import Path

import pytest

from mythjobs.agent.core.turn import DeleteOutput
from mythjobs.agent.file_removal import OutputDeleter, delete_trees, find_unknown


async def wait_for_tasks() -> None:
    own = asyncio.current_task()
    await asyncio.gather(*(each for each in asyncio.all_tasks() if each is not own))


def test_only_files_of_unknown_attempts_are_found(tmp_path: Path) -> None:
    others = ["1", "3.x", "log", "lost+found", "².1"]  # of other programs
    for name in ("1.1.1", "1.1.1.tail", "2.1", "2.2", *others):
        (tmp_path / name).touch()
    found = find_unknown(tmp_path, {(2, 1)})
    assert sorted(os.path.basename(each) for each in found) == ["1.1.1", "1.1.1.tail", "2.2"]
    delete_trees(found)
    assert sorted(each.name for each in tmp_path.iterdir()) == sorted(["2.1", *others])


def test_both_parts_of_each_stream_are_deleted(tmp_path: Path) -> None:
    for name in ("1.1.1", "1.1.1.tail", "1.1.2", "1.2.1"):
        (tmp_path / name).touch()

    async def story() -> None:
        deleter = OutputDeleter(tmp_path)
        deleter.delete(DeleteOutput((1, 1), [(9, 4, 4), (2, 2, 0)]))
        # A file that is gone already is no error.
        deleter.delete(DeleteOutput((1, 3), [(1, 1, 0)]))
        await wait_for_tasks()

    asyncio.run(story())
    assert [each.name for each in tmp_path.iterdir()] == ["1.2.1"]


def test_what_cannot_be_deleted_is_logged_and_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "1.1.1").mkdir()  # unlink(2) fails, also as root
    (tmp_path / "2.1.1").touch()

    async def story() -> None:
        deleter = OutputDeleter(tmp_path)
        deleter.delete(DeleteOutput((1, 1), [(1, 1, 0)]))
        deleter.delete(DeleteOutput((2, 1), [(1, 1, 0)]))
        await wait_for_tasks()

    with caplog.at_level(logging.WARNING):
        asyncio.run(story())
    assert not (tmp_path / "2.1.1").exists()
    assert "cannot delete collected output" in caplog.text
