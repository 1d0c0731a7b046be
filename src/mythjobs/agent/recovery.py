"""What a dead reaper has left: its journal, processes of its attempts, their files."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from mythjobs.agent.core import outcome
from mythjobs.agent.core.attempt import Key, Output
from mythjobs.config.state import AgentDir
from mythjobs.process.reaper.journal import Records, read_journal
from mythjobs.process.reaper.output import stream_path
from mythjobs.process.reaper.recovery import end_leftovers
from mythjobs.process.reaper.rmtree import remove_tree

log = logging.getLogger(__name__)


class Estate(NamedTuple):
    """`ended` as in the reaper's message; `left` had no end, and nothing of it is left now."""

    ended: Sequence[Any]
    left: Sequence[outcome.Left]


def settle(directory: Path, places: AgentDir, runtime: Path, boot_id: str) -> Estate:
    """Read the journal of a dead reaper, and end what it had running. Blocks until all of it
    is gone; the caller holds the reaper's lock. Raises OSError."""
    journal = directory / "journal"
    _make_durable(journal)
    records = read_journal(journal)
    left = _end(records, boot_id)
    for job, n in records.open:
        # Nobody removes these when the reaper cannot.
        remove_tree(str(places.scratch / f"{job}.{n}"))
        for place in (runtime, places.scratch):
            with suppress(OSError):
                os.unlink(place / f"{job}.{n}.status")
    return Estate(
        list(records.ends.values()),
        [each._replace(output=_output(places.output, each.key)) for each in left],
    )


def drop_output(directory: Path, key: Key, output: Output) -> None:
    for stream, (_, head, tail) in enumerate(output, 1):
        path = stream_path(directory, *key, stream)
        for each, size in ((path, head), (path + ".tail", tail)):
            if size:
                with suppress(FileNotFoundError):
                    os.unlink(each)


def unknown(directory: Path, known: set[Key]) -> list[str]:
    """Output, or scratch, of attempts that are forgotten: somebody died between the two."""
    found = []
    for name in os.listdir(directory):
        job, n, *_ = [*name.split("."), "", ""]
        if job.isdigit() and n.isdigit() and (int(job), int(n)) not in known:
            found.append(str(directory / name))
    return found


def drop(paths: Sequence[str]) -> None:
    for path in paths:
        if not remove_tree(path):
            log.warning("%s could not be removed as a whole", path)


def _make_durable(journal: Path) -> None:
    """What is to be reported as the end must not be unsaid by a power cut afterwards."""
    with suppress(FileNotFoundError), journal.open("rb") as file:
        os.fsync(file.fileno())


def _end(records: Records, boot_id: str) -> list[outcome.Left]:
    if records.reaper.get("boot_id") not in (None, boot_id):
        # Its pids are strangers' by now.
        return [
            outcome.Left(key, spawned.at_ms if spawned else None, [], "boot_id", outcome.RESTARTED)
            for key, spawned in records.open.items()
        ]
    proofs = end_leftovers(records.open) if records.open else {}
    return [
        outcome.Left(key, spawned.at_ms if spawned else None, [], proofs[key])
        for key, spawned in records.open.items()
    ]


def _output(directory: Path, key: Key) -> Output:
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
