"""A job's bytes to stdout or stderr: exactly as they are, or harmless where they meet a person."""

from __future__ import annotations

import codecs
import sys
from typing import TextIO

from mythjobs.cli.texts import sanitize_output


class OutputStream:
    """Writes through at once. A terminal gets no control characters but line breaks and tabs."""

    def __init__(self, stream: TextIO) -> None:
        stream.flush()
        self._out = stream.buffer
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._terminal = stream.isatty()

    def write(self, data: bytes) -> None:
        if self._terminal:
            data = sanitize_output(self._decoder.decode(data)).encode()
        self._out.write(data)
        self._out.flush()


def open_stdout() -> OutputStream:
    return OutputStream(sys.stdout)


def open_stderr() -> OutputStream:
    return OutputStream(sys.stderr)
