"""Removal of attempts' files: output that the master has collected, and what a crash left."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from mythjobs.agent.core.attempt import Key, OutputWindows
from mythjobs.agent.core.turn import DeleteOutput
from mythjobs.process.reaper.output_file import stream_path
from mythjobs.process.reaper.rmtree import remove_tree

log = logging.getLogger(__name__)


class OutputDeleter:
    """Deletes collected output in a thread: the event loop must not wait for a disk that hangs.

    What an agent has not deleted when it exits, the next one deletes.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._waiting: list[DeleteOutput] = []
        self._task: asyncio.Task[None] | None = None

    def delete(self, action: DeleteOutput) -> None:
        self._waiting.append(action)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while actions := self._waiting:
            self._waiting = []
            for error in await asyncio.to_thread(self._delete_all, actions):
                log.warning("cannot delete collected output: %s", error)

    def _delete_all(self, actions: Sequence[DeleteOutput]) -> list[OSError]:
        errors = []
        for each in actions:
            try:
                _delete_output(self._directory, each.key, each.output)
            except OSError as error:
                errors.append(error)
        return errors


def find_unknown(directory: Path, known: set[Key]) -> list[str]:
    """Return the paths in an output or scratch directory that belong to attempts not in `known`:
    a crash left them behind."""
    found = []
    for name in os.listdir(directory):
        job, n, *_ = [*name.split("."), "", ""]
        if job.isdecimal() and n.isdecimal() and (int(job), int(n)) not in known:
            found.append(str(directory / name))
    return found


def delete_trees(paths: Sequence[str]) -> None:
    for path in paths:
        if not remove_tree(path):
            log.warning("cannot remove all of %s", path)


def _delete_output(directory: Path, key: Key, output: OutputWindows) -> None:
    for stream, (_, head, tail) in enumerate(output, 1):
        path = stream_path(directory, *key, stream)
        for file, size in ((path, head), (path + ".tail", tail)):
            if size:
                with suppress(FileNotFoundError):
                    os.unlink(file)
