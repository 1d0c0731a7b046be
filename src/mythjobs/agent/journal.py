"""The agent's journal: which grants it holds, and which attempts it swore never to start.

One JSON object a line. What was started and how it ended is in the journals of the reapers.
"""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

from mythjobs.agent.core.attempt import JournalSnapshot, Key
from mythjobs.agent.core.lease_terms import (
    LeaseTerms,
    hours_from_json,
    terms_from_json,
    terms_to_json,
)
from mythjobs.agent.core.turn import WriteJournal as Wanted
from mythjobs.config import files
from mythjobs.errors import StoreFailed

# A disk that answers within this is waited for: to hand the work to a thread and back takes
# two wake-ups, which cost an idle machine about as much.
_QUICK_S: Final = 0.001
# Written anew from what is held when it has this size; at 3,000 jobs a second that is once
# in a minute.
_RENEWED_AT: Final = 4 * 2**20


def read_journal(path: Path, boot_id: str) -> JournalSnapshot:
    """What a journal tells at this boot. A line that a power cut tore is left out: nothing
    that depended on it had begun."""
    granted: dict[Key, LeaseTerms] = {}
    never: dict[Key, None] = {}
    lost: set[Key] = set()
    boot = boot_id
    for record in _records(path):
        boot = record.get("boot", boot)
        for job, n, *terms in record.get("grant", ()):
            granted[job, n] = terms_from_json(terms)
        for job, n, end_ms in record.get("lease", ()):
            if (job, n) in granted:
                granted[job, n] = granted[job, n]._replace(end_ms=end_ms)
        for job, n, hours in record.get("hours", ()):
            if (job, n) in granted:
                granted[job, n] = granted[job, n]._replace(hours=hours_from_json(hours))
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
    return JournalSnapshot(granted, list(never), lost)


def encode_journal(found: JournalSnapshot, boot_id: str) -> bytes:
    """A whole journal that says this and nothing else."""
    grants = [[*key, *terms_to_json(terms)] for key, terms in found.granted.items()]
    never, lost = list(found.never_start), list(found.maybe_started)
    return _line({"boot": boot_id, "grant": grants, "never": never, "lost": lost})


class AgentJournal:
    """Writes records at once, and makes all that came meanwhile durable with one fdatasync.

    `durable` is called in the event loop with the token of the last record that is durable,
    `failed` if the disk does not take them: then nothing more may be started.
    """

    def __init__(
        self,
        path: Path,
        boot_id: str,
        snapshot: Callable[[], JournalSnapshot],
        durable: Callable[[int], None],
        failed: Callable[[StoreFailed], None],
    ) -> None:
        self._path = path
        self._boot_id = boot_id
        self._snapshot = snapshot
        self._durable = durable
        self._failed = failed
        self._token = 0
        self._busy = False
        self._thread = ThreadPoolExecutor(1, "journal")
        self._took_s = 0.0
        self._fd = -1
        self._size = 0
        # What was written since the file began to be renewed: the new one lacks it until it takes
        # the place of the old one. The lock is held meanwhile, and by whoever writes.
        self._since: list[bytes] | None = None
        self._lock = threading.Lock()
        self._renew(encode_journal(snapshot(), boot_id))

    def write(self, wanted: Wanted) -> None:
        """It is in the file when this returns, and durable later. Raises StoreFailed."""
        data = _line(wanted.record)
        try:
            self._append(data)
        except OSError as error:
            raise self._said(error) from error
        self._token = wanted.token
        if not self._busy:
            self._busy = True
            # Not now: what waits to be sent to a reaper goes first.
            asyncio.get_running_loop().call_soon(self._sync)

    def close(self) -> None:
        """What is under way is finished first."""
        self._thread.shutdown()
        os.close(self._fd)

    def _sync(self) -> None:
        token = self._token
        loop = asyncio.get_running_loop()
        job: Callable[[], None]
        if self._size > _RENEWED_AT:
            self._since = []
            job = partial(self._renew, encode_journal(self._snapshot(), self._boot_id))
        else:
            job = partial(os.fdatasync, self._fd)
            if self._took_s < _QUICK_S:
                self._synced(token, self._try(job))
                return
        future = self._thread.submit(self._try, job)
        future.add_done_callback(
            lambda done: loop.call_soon_threadsafe(self._synced, token, done.result())
        )

    def _try(self, job: Callable[[], None]) -> Exception | None:
        began = time.monotonic()
        try:
            job()
        except Exception as error:
            return error
        finally:
            self._took_s = time.monotonic() - began
        return None

    def _synced(self, token: int, error: Exception | None) -> None:
        if error is not None:
            self._failed(self._said(error))
            return
        self._busy = self._token > token
        if self._busy:
            asyncio.get_running_loop().call_soon(self._sync)
        self._durable(token)

    def _append(self, data: bytes) -> None:
        with self._lock:
            if self._since is not None:
                self._since.append(data)
            self._size += len(data)
            _write(self._fd, data)

    def _renew(self, data: bytes) -> None:
        """A new file with this in it, and with what was written meanwhile, durable."""
        aside = files.write_aside(self._path, data)
        try:
            fd = os.open(aside, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
            with self._lock:
                # Who reads the new file must find all that has been told to a reaper by now.
                _write(fd, b"".join(self._since or ()))
                os.replace(aside, self._path)
                old, self._fd, self._since = self._fd, fd, None
                self._size = os.fstat(fd).st_size
        except BaseException:
            with suppress(OSError):
                os.unlink(aside)
            raise
        if old >= 0:
            os.close(old)
        os.fdatasync(fd)
        files.sync_directory(self._path.parent)

    def _said(self, error: Exception) -> StoreFailed:
        return StoreFailed(f"{self._path} cannot be written: {error}")


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


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _line(record: dict[str, Any]) -> bytes:
    return json.dumps(record, separators=(",", ":")).encode("ascii") + b"\n"
