"""The file of a batch: every line is checked before the first job of it is inserted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from mythjobs.errors import BadRequest
from mythjobs.master.handlers.submit import check_words, job_arguments
from mythjobs.master.requests import BatchRow
from mythjobs.model.command import Command
from mythjobs.protocol.requests import MOST_BATCH_JOBS, BatchSubmit

# A slice shares its turn with everything else that arrived.
SLICE_JOBS: Final = 1000

_line = msgspec.json.Decoder(dict[str, str | int | float | None])


def rows(path: Path, command: Command, header: BatchSubmit) -> Iterator[BatchRow]:
    """The jobs of a file of JSON lines. Raises BadRequest naming the line that is wrong."""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                given = {k: v for k, v in _line.decode(line).items() if v is not None}
                yield BatchRow(*job_arguments(command, given, header.subject))
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                raise BadRequest(f"line {number}: not an object of arguments: {error}") from None
            except BadRequest as error:
                raise BadRequest(f"line {number}: {error.sentence}") from None


def count(path: Path, command: Command, header: BatchSubmit) -> int:
    """How many jobs the file holds. Raises BadRequest if one of them is wrong, or none is there."""
    check_words(header)
    jobs = sum(1 for _ in rows(path, command, header))
    if not 0 < jobs <= MOST_BATCH_JOBS:
        raise BadRequest(f"a batch has 1 to {MOST_BATCH_JOBS} jobs; this one has {jobs}")
    return jobs
