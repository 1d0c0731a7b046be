"""Recovery after the death of a reaper: reads its journal, and removes the processes and files
that it left."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from mythjobs.agent.core import outcome
from mythjobs.agent.core.attempt import Key, OutputWindows
from mythjobs.config.state import AgentDir
from mythjobs.model.outcome import from_json
from mythjobs.process.reaper.journal import JournalState, read_journal
from mythjobs.process.reaper.output_file import stream_path
from mythjobs.process.reaper.recovery import kill_leftovers
from mythjobs.process.reaper.rmtree import remove_tree
from mythjobs.protocol.numbers import Instant, Size

log = logging.getLogger(__name__)


class _EndRecord(msgspec.Struct):
    """Types of the fields of an `ended` message that the agent passes on (docs/reaper.md)."""

    outcome: dict[str, str | int | bool]
    started_ms: Instant | None
    ended_ms: Instant
    usage: dict[str, float | int | bool]
    output: list[tuple[Size, Size, Size]]
    later: str = ""
    data: list[str] = []
    frozen_at_stop: list[str] = []
    unenforced: list[str] = []
    left: list[tuple[int, str]] = []


class DeadReaper(NamedTuple):
    """Attempts in a dead reaper's journal: the `ended` messages of attempts that ended before its
    death, and the lost attempts, which have no such message."""

    ended: Sequence[Any]
    lost: Sequence[outcome.LostAttempt]


def recover_reaper(
    directory: Path, agent_dir: AgentDir, boot_id: str, hung_pid: int = 0
) -> DeadReaper:
    """Read a dead reaper's journal and kill the processes that it left. Block until they are gone.

    The caller holds the reaper's lock, or has sent SIGKILL to the hung reaper `hung_pid`, whose
    process may still exist, blocked in the kernel. Raises OSError.
    """
    journal = directory / "journal"
    _sync_file(journal)
    state = read_journal(journal)
    for key in [key for key, ended in state.ended.items() if not _is_valid(ended)]:
        # Nobody knows how the attempt ended: it counts as lost, like one without an end.
        log.error(
            "%s: the end of job %d.%d is damaged, so it is unknown; check the disk", journal, *key
        )
        del state.ended[key]
        state.unfinished[key] = None
    lost = _kill_unfinished(state, boot_id, agent_dir.output, hung_pid)
    return DeadReaper(list(state.ended.values()), lost)


def remove_leftover_files(dead: DeadReaper, agent_dir: AgentDir, runtime: Path) -> None:
    """Remove scratch directories and status FIFOs of a dead reaper's lost attempts. May block for
    as long as a disk hangs."""
    for job, n in (lost.key for lost in dead.lost):
        remove_tree(str(agent_dir.scratch / f"{job}.{n}"))
        for parent in (runtime, agent_dir.scratch):
            with suppress(OSError):
                os.unlink(parent / f"{job}.{n}.status")


def _sync_file(journal: Path) -> None:
    # Sync the dead reaper's journal before the agent reports ends from it: a power failure must not
    # lose an end that was reported.
    with suppress(FileNotFoundError), journal.open("rb") as file:
        os.fsync(file.fileno())


def _is_valid(ended: Any) -> bool:
    try:
        msgspec.convert(ended, _EndRecord)
        from_json(ended["outcome"])
    except (msgspec.ValidationError, ValueError):
        return False
    return True


def _kill_unfinished(
    state: JournalState, boot_id: str, output: Path, hung_pid: int
) -> list[outcome.LostAttempt]:
    if state.reaper.get("boot_id") not in (None, boot_id):
        # The machine has restarted: the attempts' processes are gone, and their pids may belong to
        # unrelated processes now. Kill nothing.
        proofs, why = dict.fromkeys(state.unfinished, "boot_id"), outcome.MACHINE_RESTARTED
    else:
        parents = [str(each) for each in state.reaper.get("cgroups", ())]
        unfinished = state.unfinished
        proofs = kill_leftovers(unfinished, parents, hung_pid) if unfinished else {}
        why = outcome.REAPER_HUNG if hung_pid else outcome.REAPER_DIED
    return [
        outcome.LostAttempt(
            key,
            leader.started_ms if leader else None,
            _measure_output(output, key),
            proofs[key],
            why,
        )
        for key, leader in state.unfinished.items()
    ]


def _measure_output(directory: Path, key: Key) -> OutputWindows:
    """Return the sizes of each stream's kept output, measured on disk. The tail is left out: only
    the dead reaper knew its size."""
    sizes = []
    for stream in (1, 2):
        try:
            sizes.append(os.stat(stream_path(directory, *key, stream)).st_size)
        except FileNotFoundError:
            sizes.append(0)
    while sizes and not sizes[-1]:
        sizes.pop()
    return [(size, size, 0) for size in sizes]
