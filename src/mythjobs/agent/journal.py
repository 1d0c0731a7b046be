"""The agent's journal: which grants it holds, and which attempts it swore never to start.

One JSON object a line. What was started and how it ended is in the journals of the reapers.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from mythjobs.agent.actions import Journal as Wanted
from mythjobs.agent.attempt import Key
from mythjobs.agent.core import Found
from mythjobs.config import files
from mythjobs.errors import StoreFailed

# A disk that answers within this is waited for: to hand the work to a thread and back takes
# two wake-ups, which cost an idle machine about as much.
_QUICK_S: Final = 0.001
# Written anew from what is held when it has this size; at 3,000 jobs a second that is once
# in a minute.
_RENEWED_AT: Final = 4 * 2**20


def read(path: Path, boot_id: str) -> Found:
    """What a journal tells at this boot. A line that a power cut tore is left out: nothing
    that depended on it had begun."""
    granted: dict[Key, str] = {}
    never: dict[Key, None] = {}
    lost: set[Key] = set()
    boot = boot_id
    for record in _records(path):
        boot = record.get("boot", boot)
        for job, n, *progress in record.get("grant", ()):
            granted[job, n] = progress[0] if progress else ""
        for job, n in record.get("never", ()):
            granted.pop((job, n), None)
            never[job, n] = None
        lost |= {(job, n) for job, n in record.get("lost", ())}
        for job, n in record.get("over", ()):
            granted.pop((job, n), None)
            never.pop((job, n), None)
    # At another boot what was granted may have been started, and its reaper's note of that
    # is only as durable as the page cache was.
    lost = lost & granted.keys() if boot == boot_id else set(granted)
    return Found(granted, list(never), lost)


def renewed(found: Found, boot_id: str) -> bytes:
    """A whole journal that says this and nothing else."""
    grants = [[*key, progress] if progress else key for key, progress in found.granted.items()]
    never, lost = list(found.never), list(found.lost)
    return _line({"boot": boot_id, "grant": grants, "never": never, "lost": lost})


class Journal:
    """Writes records from a thread, all that came meanwhile with one fdatasync.

    `durable` is called in the event loop with the token of the last record written, `failed`
    if the disk does not take it: then nothing more may be started.
    """

    def __init__(
        self,
        path: Path,
        boot_id: str,
        snapshot: Callable[[], Found],
        durable: Callable[[int], None],
        failed: Callable[[StoreFailed], None],
    ) -> None:
        self._path = path
        self._boot_id = boot_id
        self._snapshot = snapshot
        self._durable = durable
        self._failed = failed
        self._wanted: list[Wanted] = []
        self._busy = False
        self._thread = ThreadPoolExecutor(1, "journal")
        self._took_s = _QUICK_S
        self._fd = -1
        self._size = 0
        self._renew(renewed(snapshot(), boot_id))

    def write(self, wanted: Wanted) -> None:
        self._wanted.append(wanted)
        if not self._busy:
            self._next()

    def close(self) -> None:
        """What is under way is finished first."""
        self._thread.shutdown()
        os.close(self._fd)

    def _next(self) -> None:
        wanted, self._wanted = self._wanted, []
        if self._size > _RENEWED_AT:
            # All that is held now, these records included.
            job, data = self._renew, renewed(self._snapshot(), self._boot_id)
        else:
            job, data = self._append, b"".join(_line(each.record) for each in wanted)
        self._busy = True
        loop = asyncio.get_running_loop()
        token = wanted[-1].token
        if self._took_s < _QUICK_S:
            loop.call_soon(self._written, token, self._try(job, data))
            return
        future = self._thread.submit(self._try, job, data)
        future.add_done_callback(
            lambda done: loop.call_soon_threadsafe(self._written, token, done.result())
        )

    def _try(self, job: Callable[[bytes], None], data: bytes) -> Exception | None:
        began = time.monotonic()
        try:
            job(data)
        except Exception as error:
            return error
        self._took_s = time.monotonic() - began
        return None

    def _written(self, token: int, error: Exception | None) -> None:
        if error is not None:
            self._failed(StoreFailed(f"{self._path} cannot be written: {error}"))
            return
        self._busy = False
        if self._wanted:
            self._next()
        self._durable(token)

    def _append(self, data: bytes) -> None:
        self._size += len(data)
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]
        os.fdatasync(self._fd)

    def _renew(self, data: bytes) -> None:
        files.replace(self._path, data)
        fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = fd
        self._size = len(data)


def _records(path: Path) -> Iterable[Any]:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return
    for line in data.split(b"\n"):
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            yield record


def _line(record: dict[str, Any]) -> bytes:
    return json.dumps(record, separators=(",", ":")).encode("ascii") + b"\n"
