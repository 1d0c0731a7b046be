"""The line between agent and reaper: one JSON array of messages a line, ASCII."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from mythjobs.errors import ProtocolError

Message = dict[str, Any]

# 256 starts, each with the two megabytes that the kernel allows argv and environment.
LONGEST_LINE: Final = 512 * 2**20

_decode: Final = json.JSONDecoder().decode
encode_json: Final = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


def encode_line(messages: Sequence[Mapping[str, Any]]) -> bytes:
    """Text that came as bytes is here by `surrogateescape`, and leaves as escapes in ASCII."""
    return encode_json(messages).encode("ascii") + b"\n"


class LineReader:
    """Feed it what was received; it gives back the messages of every line that is complete."""

    def __init__(self, longest: int = LONGEST_LINE) -> None:
        self._rest = bytearray()
        self._longest = longest

    def feed(self, data: bytes) -> list[Message]:
        """Raises ProtocolError on a line that is too long or is no array of messages."""
        *whole, rest = data.split(b"\n")
        if not whole:
            self._keep(rest)
            return []
        self._rest += whole[0]
        first = bytes(self._rest)
        self._rest.clear()
        self._keep(rest)
        return [message for line in (first, *whole[1:]) for message in decode_line(line)]

    def _keep(self, rest: bytes) -> None:
        self._rest += rest
        if len(self._rest) > self._longest:
            raise ProtocolError(f"a line is longer than {self._longest} bytes")


def decode_line(line: bytes) -> list[Message]:
    """The messages of one line, without its newline. Raises ProtocolError."""
    try:
        messages = _decode(line.decode("ascii"))
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"not a line of JSON: {error}") from None
    if not isinstance(messages, list):
        raise ProtocolError("a line is not an array of messages")
    for message in messages:
        if not isinstance(message, dict) or not isinstance(message.get("type"), str):
            raise ProtocolError("a message is not an object with a type")
    return messages
