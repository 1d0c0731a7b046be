"""Last lines of an attempt's output, for messages."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final, Protocol

from mythjobs.errors import MythJobsError

LINES: Final = 5
_MAX_LINE: Final = 300
_TAIL_BYTES: Final = 4096
_TIMEOUT_S: Final = 5.0
log = logging.getLogger(__name__)


class RequestedStream(Protocol):
    @property
    def chunks(self) -> AsyncGenerator[bytes, None]: ...


class AttemptOutputReader(Protocol):
    """Interface of the output reader that this module needs."""

    async def find_sizes(self, job: int, n: int) -> list[int]: ...

    async def read(
        self, job: int, n: int | None, stream: int, offset: int, *, follow: bool
    ) -> RequestedStream: ...


async def read_last_lines(outputs: AttemptOutputReader, job: int, n: int) -> str:
    """Return the last lines of an ended attempt's output, of stderr if that has any.

    Return "" if the output cannot be read within a few seconds.
    """
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            sizes = await outputs.find_sizes(job, n)
            streams = [number for number, size in enumerate(sizes, 1) if size]
            if not streams:
                return ""
            stream = streams[-1]
            offset = max(0, sizes[stream - 1] - _TAIL_BYTES)
            found = await outputs.read(job, n, stream, offset, follow=False)
            data = b""
            async with aclosing(found.chunks) as chunks:
                async for chunk in chunks:
                    data = (data + chunk)[-_TAIL_BYTES:]
    except (MythJobsError, TimeoutError):
        return ""  # its machine is not connected
    return choose_lines(data)


def choose_lines(data: bytes) -> str:
    """Return the last lines of output as text without control characters."""
    text = data.decode("utf-8", "replace").replace("\r", "\n")
    lines = [
        "".join(c if c.isprintable() else " " for c in line).rstrip()[:_MAX_LINE]
        for line in text.split("\n")
    ]
    return "\n".join([line for line in lines if line][-LINES:])
