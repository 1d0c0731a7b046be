"""Journal of the agent: granted attempts, and attempts durably marked never-start.

Starts and ends of attempts are in the journals of the reapers.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
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
from mythjobs.agent.core.turn import WriteJournal
from mythjobs.errors import StoreFailed
from mythjobs.process.record_log import RecordLog, read_records

# If the last sync took less, the next one runs in the event loop instead of the thread: passing
# work to a thread and back takes two wake-ups, which cost about as much on an idle machine.
_QUICK_SYNC_S: Final = 0.001
# A journal above this size is rewritten with the live attempts only: at 3,000 jobs a second about
# once a minute.
_REWRITE_ABOVE_BYTES: Final = 4 * 2**20


def read_journal(path: Path, boot_id: str) -> JournalSnapshot:
    """Return the state recorded in a journal, for an agent in the boot `boot_id`. Raises OSError.

    A line torn by a power failure is skipped: its content had not been reported to the master.
    """
    granted: dict[Key, LeaseTerms] = {}
    never_start: dict[Key, None] = {}
    maybe_started: set[Key] = set()
    boot = boot_id
    for record in read_records(path):
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
            never_start[job, n] = None
        maybe_started |= {(job, n) for job, n in record.get("lost", ())}
        for job, n in record.get("over", ()):
            granted.pop((job, n), None)
            never_start.pop((job, n), None)
    # After a restart of the machine every granted attempt may have been started, even if its
    # reaper's journal has no start record: that record is not synced to disk.
    maybe_started = maybe_started & granted.keys() if boot == boot_id else set(granted)
    return JournalSnapshot(granted, list(never_start), maybe_started)


def encode_journal(snapshot: JournalSnapshot, boot_id: str) -> bytes:
    """Return the content of a journal file that has only this state."""
    grants = [[*key, *terms_to_json(terms)] for key, terms in snapshot.granted.items()]
    never_start, maybe_started = list(snapshot.never_start), list(snapshot.maybe_started)
    return _encode({"boot": boot_id, "grant": grants, "never": never_start, "lost": maybe_started})


class AgentJournal:
    """Journal file open for appending. Each record is written immediately; one fsync makes all
    records written since the last one durable.

    `on_durable` is called in the event loop with the number (`token`) of the last durable record.
    `on_failed` is called if the disk fails; no attempt may be started after that.
    """

    def __init__(
        self,
        path: Path,
        boot_id: str,
        snapshot: Callable[[], JournalSnapshot],
        on_durable: Callable[[int], None],
        on_failed: Callable[[StoreFailed], None],
    ) -> None:
        self._path = path
        self._boot_id = boot_id
        self._snapshot = snapshot
        self._on_durable = on_durable
        self._on_failed = on_failed
        self._token = 0
        self._is_syncing = False
        self._executor = ThreadPoolExecutor(1, "journal")
        self._last_sync_s = 0.0
        self._log = RecordLog(path)
        self._log.rewrite(encode_journal(snapshot(), boot_id))

    def write(self, action: WriteJournal) -> None:
        """Append a record to the journal and schedule its sync to disk. Raises StoreFailed."""
        try:
            self._log.append(_encode(action.record))
        except OSError as error:
            raise self._store_failed(error) from error
        self._token = action.token
        if not self._is_syncing:
            self._is_syncing = True
            # Sync in the next iteration of the event loop: messages for reapers that the current
            # iteration sends must not wait for the disk.
            asyncio.get_running_loop().call_soon(self._sync)

    def close(self) -> None:
        """Finish a running sync, then close the file."""
        self._executor.shutdown()
        self._log.close()

    def _sync(self) -> None:
        token = self._token
        loop = asyncio.get_running_loop()
        work: Callable[[], None]
        if self._log.size_bytes > _REWRITE_ABOVE_BYTES:
            self._log.begin_rewrite()
            work = partial(self._log.rewrite, encode_journal(self._snapshot(), self._boot_id))
        else:
            work = self._log.sync
            if self._last_sync_s < _QUICK_SYNC_S:
                self._finish_sync(token, self._run(work))
                return
        future = self._executor.submit(self._run, work)
        future.add_done_callback(
            lambda done: loop.call_soon_threadsafe(self._finish_sync, token, done.result())
        )

    def _run(self, work: Callable[[], None]) -> Exception | None:
        started_s = time.monotonic()
        try:
            work()
        except Exception as error:
            return error
        finally:
            self._last_sync_s = time.monotonic() - started_s
        return None

    def _finish_sync(self, token: int, error: Exception | None) -> None:
        if error is not None:
            self._on_failed(self._store_failed(error))
            return
        self._is_syncing = self._token > token
        if self._is_syncing:
            asyncio.get_running_loop().call_soon(self._sync)
        self._on_durable(token)

    def _store_failed(self, error: Exception) -> StoreFailed:
        return StoreFailed(f"cannot write the agent's journal {self._path}: {error}")


def _encode(record: dict[str, Any]) -> bytes:
    return json.dumps(record, separators=(",", ":")).encode("ascii") + b"\n"
