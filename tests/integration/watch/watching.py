"""A watch in a thread, a client whose next submit fails, directories that are too deep."""

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mythjobs.client.client import Client
from mythjobs.errors import MythJobsError
from mythjobs.watch.service import DirectoryWatch, WatchEvent, WatchOptions

TIMEOUT_S = 60


class Watching:
    """A watch in a thread; `events` are what it reported. react: gets the kind of each event, in
    the thread of the watch."""

    def __init__(
        self, client: Client, directory: Path,
        react: Callable[[str], object] = lambda _: None, **options: Any,
    ) -> None:  # fmt: skip
        self.events: list[WatchEvent] = []
        self._react = react
        self._changed = threading.Condition()
        given: dict[str, Any] = {"command": "look", "settle_s": 0.2, "has_subject": False} | options
        self.watch = DirectoryWatch(
            WatchOptions(str(directory), parameter="source", **given),
            client, directory.parent / "watch.json", self._report,
        )  # fmt: skip
        self._thread = threading.Thread(target=self.watch.run)

    def _report(self, event: WatchEvent) -> None:
        self._react(event.kind)
        with self._changed:
            self.events.append(event)
            self._changed.notify_all()

    def kinds(self) -> list[str]:
        return [each.kind for each in self.events]

    def wait_for(self, kind: str, count: int = 1) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self.kinds().count(kind) >= count, TIMEOUT_S), (
                self.events
            )

    def stop(self) -> None:
        self.watch.stop()
        self._thread.join(TIMEOUT_S)
        assert not self._thread.is_alive()

    def __enter__(self) -> "Watching":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class RefusingClient(Client):
    """Client of a real queue whose next submit fails."""

    error: MythJobsError | None = None

    def post(self, path: str, body: Any = None, **options: Any) -> Any:
        error, self.error = self.error, None
        if error is not None:
            raise error
        return super().post(path, body, **options)


def make_deep(directory: Path, depth: int) -> None:
    """Create directories in each other, deeper than a path may be long."""
    here = os.open(directory, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("deep", dir_fd=here)
        below = os.open("deep", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
