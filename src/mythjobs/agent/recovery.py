"""What a dead reaper has left: its journal, processes of its attempts, their files."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from mythjobs.agent.core import outcome
from mythjobs.agent.core.attempt import Key, OutputWindows
from mythjobs.config.state import AgentDir
from mythjobs.process.reaper.journal import JournalState, read_journal
from mythjobs.process.reaper.output import stream_path
from mythjobs.process.reaper.recovery import kill_leftovers
from mythjobs.process.reaper.rmtree import remove_tree

log = logging.getLogger(__name__)


class DeadReaper(NamedTuple):
    """`ended` as in the reaper's message; `left` had no end, and nothing of it is left now."""

    ended: Sequence[Any]
    lost: Sequence[outcome.LostAttempt]


def recover_reaper(directory: Path, agent_dir: AgentDir, runtime: Path, boot_id: str) -> DeadReaper:
    """Read the journal of a dead reaper, and end what it had running. Blocks until all of it
    is gone; the caller holds the reaper's lock. Raises OSError."""
    journal = directory / "journal"
    _sync_file(journal)
    records = read_journal(journal)
    left = _kill_unfinished(records, boot_id)
    for job, n in records.unfinished:
        # Nobody removes these when the reaper cannot.
        remove_tree(str(agent_dir.scratch / f"{job}.{n}"))
        for place in (runtime, agent_dir.scratch):
            with suppress(OSError):
                os.unlink(place / f"{job}.{n}.status")
    return DeadReaper(
        list(records.ended.values()),
        [each._replace(output=_measure_output(agent_dir.output, each.key)) for each in left],
    )


def delete_output(directory: Path, key: Key, output: OutputWindows) -> None:
    for stream, (_, head, tail) in enumerate(output, 1):
        path = stream_path(directory, *key, stream)
        for each, size in ((path, head), (path + ".tail", tail)):
            if size:
                with suppress(FileNotFoundError):
                    os.unlink(each)


def find_unknown(directory: Path, known: set[Key]) -> list[str]:
    """Output, or scratch, of attempts that are forgotten: somebody died between the two."""
    found = []
    for name in os.listdir(directory):
        job, n, *_ = [*name.split("."), "", ""]
        if job.isdigit() and n.isdigit() and (int(job), int(n)) not in known:
            found.append(str(directory / name))
    return found


def delete_trees(paths: Sequence[str]) -> None:
    for path in paths:
        if not remove_tree(path):
            log.warning("%s could not be removed as a whole", path)


def _sync_file(journal: Path) -> None:
    """What is to be reported as the end must not be unsaid by a power cut afterwards."""
    with suppress(FileNotFoundError), journal.open("rb") as file:
        os.fsync(file.fileno())


def _kill_unfinished(records: JournalState, boot_id: str) -> list[outcome.LostAttempt]:
    if records.reaper.get("boot_id") not in (None, boot_id):
        # Its pids are strangers' by now.
        return [
            outcome.LostAttempt(
                key,
                spawned.started_ms if spawned else None,
                [],
                "boot_id",
                outcome.MACHINE_RESTARTED,
            )
            for key, spawned in records.unfinished.items()
        ]
    proofs = kill_leftovers(records.unfinished) if records.unfinished else {}
    return [
        outcome.LostAttempt(key, spawned.started_ms if spawned else None, [], proofs[key])
        for key, spawned in records.unfinished.items()
    ]


def _measure_output(directory: Path, key: Key) -> OutputWindows:
    """The heads that lie there. What the tails hold only the reaper could have told."""
    sizes = []
    for stream in (1, 2):
        try:
            sizes.append(os.stat(stream_path(directory, *key, stream)).st_size)
        except FileNotFoundError:
            sizes.append(0)
    while sizes and not sizes[-1]:
        sizes.pop()
    return [(size, size, 0) for size in sizes]
