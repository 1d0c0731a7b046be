"""Journal of the agent after a crash, a power failure, and a restart of the machine."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
from pathlib import Path

import pytest

from mythjobs.agent import journal
from mythjobs.agent.core.attempt import JournalSnapshot
from mythjobs.agent.core.lease_terms import NO_TERMS, LeaseTerms
from mythjobs.agent.core.turn import Json, WriteJournal
from mythjobs.config.os_errors import explaining_os_errors
from mythjobs.config.state import StateDir
from mythjobs.errors import StateNotWritable, StoreFailed
from tests.support.disks import fill_disk, mount_small_disk

BOOT = "b1"
EMPTY = JournalSnapshot({}, [], set())


def write(path: Path, *records: object, torn: bytes = b"") -> None:
    path.write_bytes(b"".join(json.dumps(each).encode() + b"\n" for each in records) + torn)


def test_a_missing_journal_is_empty(tmp_path: Path) -> None:
    assert journal.read_journal(tmp_path / "journal", BOOT) == EMPTY


def test_ended_attempts_are_not_restored(tmp_path: Path) -> None:
    write(
        tmp_path / "journal",
        {"boot": BOOT, "grant": [], "never": [], "lost": []},
        {"grant": [[1, 1], [2, 1, "ffmpeg"], [3, 1]]},
        {"never": [[3, 1], [4, 2]], "over": [[1, 1]]},
        {"grant": [[5, 1]], "over": [[4, 2]]},
    )
    found = journal.read_journal(tmp_path / "journal", BOOT)
    assert found == JournalSnapshot(
        {(2, 1): LeaseTerms("ffmpeg"), (5, 1): NO_TERMS}, [(3, 1)], set()
    )


def test_unknown_terms_of_a_newer_version_are_ignored(tmp_path: Path) -> None:
    known = [*LeaseTerms("ffmpeg", command="flag")]
    write(tmp_path / "journal", {"boot": BOOT, "grant": [[1, 1, *known, "new", 7]]})
    found = journal.read_journal(tmp_path / "journal", BOOT)
    assert found.granted == {(1, 1): LeaseTerms("ffmpeg", command="flag")}


@pytest.mark.parametrize("torn", [b'{"grant":[[9,', b"\0" * 512, b"[1]\n", b'{"never":[[1,1]]'])
def test_a_torn_last_line_is_skipped(tmp_path: Path, torn: bytes) -> None:
    write(tmp_path / "journal", {"boot": BOOT, "grant": [[1, 1]]}, torn=torn)
    assert journal.read_journal(tmp_path / "journal", BOOT) == JournalSnapshot(
        {(1, 1): NO_TERMS}, [], set()
    )


def test_after_a_machine_restart_all_granted_attempts_may_have_run(tmp_path: Path) -> None:
    write(tmp_path / "journal", {"boot": "b0", "grant": [[1, 1], [2, 1]], "never": [[3, 1]]})
    found = journal.read_journal(tmp_path / "journal", BOOT)
    assert found == JournalSnapshot(
        {(1, 1): NO_TERMS, (2, 1): NO_TERMS}, [(3, 1)], {(1, 1), (2, 1)}
    )

    # The same holds if the agent dies at once and another one starts at the same boot.
    (tmp_path / "journal").write_bytes(journal.encode_journal(found, BOOT))
    assert journal.read_journal(tmp_path / "journal", BOOT) == found


class JournalRecorder:
    """A journal in an event loop, and its reports."""

    def __init__(self, path: Path, found: JournalSnapshot = EMPTY) -> None:
        self.found = found
        self.written: list[int] = []
        self.durable: list[int] = []
        self.error: StoreFailed | None = None
        self.reported = asyncio.Event()
        self.journal = journal.AgentJournal(
            path, BOOT, lambda: self.found, self.written.append, self._durable, self._failed
        )

    def _durable(self, token: int) -> None:
        self.durable.append(token)
        self.reported.set()

    def _failed(self, error: StoreFailed) -> None:
        self.error = error
        self.reported.set()

    async def wait_durable(self, token: int) -> None:
        async with asyncio.timeout(60):
            while self.error is None and (not self.durable or self.durable[-1] < token):
                self.reported.clear()
                await self.reported.wait()


def test_gathered_records_precede_an_urgent_one(tmp_path: Path) -> None:
    path = tmp_path / "journal"

    async def story() -> None:
        disk = JournalRecorder(path)
        for token in range(1, 5):
            record: Json = {"grant": [(token, 1)]}
            disk.journal.write(WriteJournal(record, token, is_urgent=False))
        disk.journal.write(WriteJournal({"never": [(4, 1)]}, 5))
        await disk.wait_durable(5)
        assert (disk.written, disk.durable, disk.journal.durable_token) == ([5], [5], 5)
        found = journal.read_journal(path, BOOT)
        assert (list(found.granted), found.never_start) == ([(1, 1), (2, 1), (3, 1)], [(4, 1)])
        disk.journal.close()

    asyncio.run(story())


def test_gathered_records_become_durable_without_a_report(tmp_path: Path) -> None:
    async def story() -> None:
        disk = JournalRecorder(tmp_path / "journal")
        disk.journal.write(WriteJournal({"grant": [(1, 1)]}, 1, is_urgent=False))
        async with asyncio.timeout(60):
            while disk.journal.durable_token < 1:  # noqa: ASYNC110  (nothing reports it)
                await asyncio.sleep(0)
        # A record that waits when the journal is closed is written, too.
        disk.journal.write(WriteJournal({"grant": [(2, 1)]}, 2, is_urgent=False))
        disk.journal.close()
        assert disk.durable == []

    asyncio.run(story())
    assert list(journal.read_journal(tmp_path / "journal", BOOT).granted) == [(1, 1), (2, 1)]


def test_a_large_journal_is_rewritten_from_the_snapshot(tmp_path: Path) -> None:
    path = tmp_path / "journal"

    async def story() -> None:
        disk = JournalRecorder(path)
        many = [(job, 1) for job in range(600_000)]
        disk.journal.write(WriteJournal({"grant": many, "over": many}, 1))
        await disk.wait_durable(1)
        disk.found = JournalSnapshot({(700_000, 1): NO_TERMS}, [], set())
        disk.journal.write(WriteJournal({"grant": [(700_000, 1)]}, 2))
        # The rewrite is running or waits. The new file must get this record, too.
        disk.journal.write(WriteJournal({"never": [(700_002, 1)]}, 3))
        await disk.wait_durable(3)
        assert path.stat().st_size < 1000
        disk.journal.write(WriteJournal({"grant": [(700_001, 1)]}, 4))
        await disk.wait_durable(4)
        disk.journal.close()

    asyncio.run(story())
    found = journal.read_journal(path, BOOT)
    assert list(found.granted) == [(700_000, 1), (700_001, 1)]
    assert found.never_start == [(700_002, 1)]


def test_a_failed_write_is_reported_and_nothing_is_durable(tmp_path: Path) -> None:
    async def story() -> None:
        disk = JournalRecorder(tmp_path / "journal")
        # A write over the limit fails as on a full disk (EFBIG, not a signal).
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200, before[1]))
        try:
            disk.journal.write(WriteJournal({"grant": [(job, 1) for job in range(99)]}, 1))
            await disk.wait_durable(1)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert disk.error is not None
        assert disk.error.exit_code == os.EX_IOERR
        assert "cannot write the agent's journal" in disk.error.sentence
        # Later records are dropped: none may become durable after one that is not.
        disk.journal.write(WriteJournal({"grant": [(1, 1)]}, 2))
        disk.journal.close()
        assert (disk.written, disk.durable, disk.journal.durable_token) == ([], [], 0)

    asyncio.run(story())


_DAMAGED = (
    {"grant": [[5]]},
    {"grant": [[5.1, 1]]},
    {"grant": [["a", 1]]},
    {"grant": [[2**70, 1]]},
    {"grant": [[-1, 1]]},
    {"grant": [[5, 1, "", "1800", 9]]},
    {"grant": [[5, 1, "", 1e300, 9]]},
    {"grant": [[5, 1, "", None, 0, {"sets": 7}]]},
    {"lease": [[1, 1]]},
    {"lease": [[1, 1, None]]},
    {"hours": [[1, 1, []]]},
    {"never": 7},
    {"over": [[1]]},
    {"lost": [5]},
    {"boot": 7},
    {"control": {"is_paused": True}},
)


@pytest.mark.parametrize("damaged", _DAMAGED)
def test_a_damaged_record_is_skipped_and_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damaged: object
) -> None:
    first = {"boot": BOOT, "grant": [[1, 1]]}
    write(tmp_path / "journal", first, damaged, {"grant": [[2, 1]]})
    found = journal.read_journal(tmp_path / "journal", BOOT)
    assert found == JournalSnapshot({(1, 1): NO_TERMS, (2, 1): NO_TERMS}, [], set())
    [line] = caplog.messages
    assert "1 records of the agent's journal are damaged and skipped" in line


@pytest.mark.parametrize(
    "changed", [{"zone": "Europe/Berlyn"}, {"sets": [["mon 2&:00-06:00"]]}], ids=["zone", "range"]
)
def test_run_windows_that_cannot_be_evaluated_are_ignored(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, changed: dict[str, object]
) -> None:
    # The time zone database may have been removed since the grant.
    hours = {"sets": [["22:00-06:00"]], "zone": "Europe/Berlin", "closing": "finish"} | changed
    write(tmp_path / "journal", {"boot": BOOT, "grant": [[1, 1, "", 60.0, 9, hours]]})
    found = journal.read_journal(tmp_path / "journal", BOOT)
    assert found.granted == {(1, 1): LeaseTerms("", 60.0, 9)}
    assert "run windows in the agent's journal are ignored" in caplog.text


def test_a_journal_that_a_full_disk_refuses_is_named(tmp_path: Path) -> None:
    """Observed: the agent reported that it cannot write to stdout."""
    with mount_small_disk(tmp_path) as disk:
        path = disk / "agent" / "journal"
        path.parent.mkdir()
        path.touch()
        fill_disk(disk)
        with (
            pytest.raises(StateNotWritable, match=f"cannot use {path}: No space left .*free space"),
            explaining_os_errors(StateDir(disk)),
        ):
            journal.AgentJournal(path, BOOT, lambda: EMPTY, print, print, print)
