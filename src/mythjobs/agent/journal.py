"""Journal of the agent: granted attempts, and attempts durably marked never-start.

Starts and ends of attempts are in the journals of the reapers.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from mythjobs.agent.core.attempt import JournalSnapshot, Key
from mythjobs.agent.core.lease_terms import (
    LeaseTerms,
    TermsRecord,
    hours_from_record,
    terms_to_json,
)
from mythjobs.agent.core.turn import WriteJournal
from mythjobs.errors import StoreFailed
from mythjobs.model.machine_control import NO_CONTROL, MachineControl
from mythjobs.process.record_log import RecordLog, read_records
from mythjobs.protocol.numbers import Number
from mythjobs.protocol.run_spec import HoursSpec

# Records that nothing waits for are written this long after the first of them. While jobs take a
# millisecond, several share the cost of waking the thread and of a sync.
_GATHER_S: Final = 0.05
# A journal above this size is rewritten with the live attempts only: at 3,000 jobs a second about
# once a minute.
_REWRITE_ABOVE_BYTES: Final = 4 * 2**20


log = logging.getLogger(__name__)

_Key = tuple[Number, Number]


class _Control(msgspec.Struct, array_like=True):
    is_drained: bool = False
    is_paused: bool = False
    until_ms: Number | None = None


class _Record(msgspec.Struct):
    """A line of the journal. Fields that a newer version added are ignored."""

    boot: str = ""
    grant: list[TermsRecord] = []
    lease: list[tuple[Number, Number, Number]] = []
    hours: list[tuple[Number, Number, HoursSpec | None]] = []
    never: list[_Key] = []
    lost: list[_Key] = []
    control: _Control | None = None
    over: list[_Key] = []


def read_journal(path: Path, boot_id: str) -> JournalSnapshot:
    """Return the state recorded in a journal, for an agent in the boot `boot_id`. Raises OSError.

    A line torn by a power failure is skipped: its content had not been reported to the master.
    """
    return replay_records(read_records(path), boot_id)


def replay_records(records: Iterable[dict[str, Any]], boot_id: str) -> JournalSnapshot:
    """Return the state that results from the records of a journal. Damaged records are skipped."""
    granted: dict[Key, LeaseTerms] = {}
    never_start: dict[Key, None] = {}
    maybe_started: set[Key] = set()
    control = NO_CONTROL
    boot = boot_id
    for record in _convert_records(records):
        boot = record.boot or boot
        for each in record.grant:
            granted[each.job, each.n] = each.to_terms()
        for job, n, end_ms in record.lease:
            if (job, n) in granted:
                granted[job, n] = granted[job, n]._replace(end_ms=end_ms)
        for job, n, hours in record.hours:
            if (job, n) in granted:
                granted[job, n] = granted[job, n]._replace(hours=hours_from_record(hours))
        for key in record.never:
            granted.pop(key, None)
            never_start[key] = None
        maybe_started.update(record.lost)
        if record.control is not None:
            control = MachineControl(*msgspec.structs.astuple(record.control))
        for key in record.over:
            granted.pop(key, None)
            never_start.pop(key, None)
    # After a restart of the machine every granted attempt may have been started, even if its
    # reaper's journal has no start record: that record is not synced to disk.
    maybe_started = maybe_started & granted.keys() if boot == boot_id else set(granted)
    return JournalSnapshot(granted, list(never_start), maybe_started, control)


def _convert_records(records: Iterable[dict[str, Any]]) -> Iterator[_Record]:
    damaged: list[str] = []
    for record in records:
        try:
            yield msgspec.convert(record, _Record)
        except msgspec.ValidationError as error:
            damaged.append(str(error))
    if damaged:
        log.error(
            "%d records of the agent's journal are damaged and skipped, the first: %s; check the "
            "disk",
            len(damaged),
            damaged[0],
        )


def encode_journal(snapshot: JournalSnapshot, boot_id: str) -> bytes:
    """Return the content of a journal file that has only this state."""
    grants = [[*key, *terms_to_json(terms)] for key, terms in snapshot.granted.items()]
    never_start, maybe_started = list(snapshot.never_start), list(snapshot.maybe_started)
    record: dict[str, Any] = {
        "boot": boot_id,
        "grant": grants,
        "never": never_start,
        "lost": maybe_started,
    }
    if snapshot.control != NO_CONTROL:
        record["control"] = snapshot.control
    return _encode(record)


_encoder: Final = msgspec.json.Encoder()


class _Batch(NamedTuple):
    """Records that the journal's thread writes and syncs together, up to number `token`.

    rewrite: new content of the whole file, which includes these records; empty to append them.
    """

    records: list[dict[str, Any]]
    token: int
    is_urgent: bool
    rewrite: bytes = b""


class AgentJournal:
    """Journal file open for appending. A thread writes and syncs it: the event loop must not wait
    for a disk that hangs, as it renews the leases of running jobs.

    Of an urgent record, `on_written` and `on_durable` are called in the event loop with the number
    (`token`) of the last record written or durable. Others are gathered for _GATHER_S, so that jobs
    that take a millisecond share a sync; no call follows, but `durable_token` rises.
    `on_failed` is called if the disk fails; nothing becomes durable after that.
    """

    def __init__(
        self,
        path: Path,
        boot_id: str,
        snapshot: Callable[[], JournalSnapshot],
        on_written: Callable[[int], None],
        on_durable: Callable[[int], None],
        on_failed: Callable[[StoreFailed], None],
    ) -> None:
        """Write the snapshot durably to the file. Raises OSError."""
        self._path = path
        self._boot_id = boot_id
        self._snapshot = snapshot
        self._on_written = on_written
        self._on_durable = on_durable
        self._on_failed = on_failed
        self.durable_token = 0
        self._records: list[dict[str, Any]] = []
        self._token = 0
        self._timer: asyncio.TimerHandle | None = None
        # Token of the last batch that rewrites the file.
        self._rewrite_token = 0
        self._inbox: queue.SimpleQueue[_Batch | None] = queue.SimpleQueue()
        self._log = RecordLog(path)
        try:
            self._log.rewrite(encode_journal(snapshot(), boot_id))
        except OSError as error:
            error.filename = str(path)  # write(2) and fsync(2) name no file
            raise
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)

    def write(self, action: WriteJournal) -> None:
        """Append a record to the journal, in the thread."""
        self._records.append(action.record)
        self._token = action.token
        if action.is_urgent:
            self._pass_records(is_urgent=True)
        elif self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(_GATHER_S, self._pass_records)

    def close(self) -> None:
        """Write what was gathered, then close the file. Waits for the disk."""
        self._pass_records()
        self._inbox.put(None)
        if self._loop is not None:
            self._thread.join()
        self._log.close()

    def _pass_records(self, *, is_urgent: bool = False) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._records:
            return
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._thread.start()
        rewrite = b""
        if (
            self._log.size_bytes > _REWRITE_ABOVE_BYTES
            and self.durable_token >= self._rewrite_token
        ):
            self._rewrite_token = self._token
            rewrite = encode_journal(self._snapshot(), self._boot_id)
        self._inbox.put(_Batch(self._records, self._token, is_urgent, rewrite))
        self._records = []

    # Methods that run in the journal's thread.

    def _run(self) -> None:
        is_closing = False
        while not is_closing:
            batches = []
            each = self._inbox.get()
            while each is not None:
                batches.append(each)
                if self._inbox.empty():
                    break
                each = self._inbox.get()
            is_closing = each is None
            try:
                if batches:
                    self._write_batches(batches)
            except Exception as error:
                failure = StoreFailed(f"cannot write the agent's journal {self._path}: {error}")
                self._call_in_loop(partial(self._on_failed, failure))
                return

    def _write_batches(self, batches: list[_Batch]) -> None:
        token = batches[-1].token
        is_urgent = any(each.is_urgent for each in batches)
        lines: list[bytes] = []
        for each in batches:
            if each.rewrite:
                self._log.rewrite(each.rewrite)
                lines = []
            else:
                lines += map(_encode, each.records)
        if lines:
            self._log.append(b"".join(lines))
        if is_urgent:
            self._call_in_loop(partial(self._on_written, token))
        if lines:
            self._log.sync()
        self.durable_token = token
        if is_urgent:
            self._call_in_loop(partial(self._on_durable, token))

    def _call_in_loop(self, function: Callable[[], None]) -> None:
        assert self._loop is not None
        # RuntimeError: the loop was closed meanwhile, because an internal error ends the agent.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(function)


def _encode(record: dict[str, Any]) -> bytes:
    return _encoder.encode(record) + b"\n"
