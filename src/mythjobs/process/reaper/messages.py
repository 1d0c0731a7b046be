"""Encoding and decoding of messages on the reaper's socket, and encoding of its journal records, as
lines of JSON (docs/reaper.md)."""

from __future__ import annotations

import json
from binascii import b2a_base64
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from mythjobs.errors import ProtocolError
from mythjobs.model.outcome import Exited, Outcome, to_json
from mythjobs.process.procfs import AttemptKey
from mythjobs.process.reaper.attempt import ReaperAttempt

Message = dict[str, Any]

# Limit of one received line: 256 start messages, each with the 2 MiB that the kernel allows argv
# and environment by default.
MAX_LINE_BYTES: Final = 512 * 2**20

_decode: Final = json.JSONDecoder().decode
encode_json: Final = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


def encode_line(messages: Sequence[Mapping[str, Any]]) -> bytes:
    """Return messages as one line of ASCII JSON. Bytes of text that are not UTF-8, which are
    surrogates in `str`, become JSON escapes."""
    return encode_json(messages).encode("ascii") + b"\n"


def decode_line(line: bytes) -> list[Message]:
    """Return the messages in a line, which is passed without its newline. Raises ProtocolError."""
    try:
        messages = _decode(line.decode("ascii"))
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"line is not valid JSON: {error}") from None
    if not isinstance(messages, list):
        raise ProtocolError("line is not a JSON array of messages")
    for message in messages:
        if not isinstance(message, dict) or not isinstance(message.get("type"), str):
            raise ProtocolError("message is not a JSON object with a type")
    return messages


class LineReader:
    """Splits received bytes into lines and decodes the messages in them."""

    def __init__(
        self, max_bytes: int = MAX_LINE_BYTES, decode: Callable[[bytes], list[Any]] = decode_line
    ) -> None:
        self._decode = decode
        self._partial = bytearray()
        self._max_bytes = max_bytes

    def feed(self, data: bytes) -> list[Message]:
        """Return the messages of all lines that `data` completes. Raises ProtocolError."""
        *lines, partial = data.split(b"\n")
        if lines:
            lines[0] = bytes(self._partial) + lines[0]
            self._partial.clear()
        self._partial += partial
        if len(self._partial) > self._max_bytes:
            raise ProtocolError(f"line exceeds {self._max_bytes} bytes")
        return [message for line in lines for message in self._decode(line)]


# Templates of messages and records that every attempt needs; encoding with the json module takes
# four times as long. Each placeholder takes a number or encoded JSON.
_START_RECORD = '{"start":[%d,%d]}'
_PID_RECORD = '{"pid":[%d,%d,%d,%d,%d,%d]}'
_STARTED = '{"type":"started","job":%d,"n":%d,"pid":%d,"at_ms":%d}'
_ENDED = (
    '{"type":"ended","seq":%d,"job":%d,"n":%d,"outcome":%s,"usage":%s,'
    '"started_ms":%s,"ended_ms":%d,"output":%s%s}'
)
_NEXT = ',"next":[%d,%d]'
_EXITED = '{"kind":"exited","code":%d}'
_USAGE = (
    '{"wall_s":%.3f,"user_s":%.6f,"system_s":%.6f,"peak_bytes":%d,'
    '"read_bytes":%d,"written_bytes":%d,"switches":%d,"processes":%d,"exact":%s%s}'
)

_GREW = '{"type":"grew","job":%d,"n":%d,"output":%s}'
_FROZEN = '{"type":"frozen","job":%d,"n":%d,"holders":%s}'
_STATUS = '{"type":"status","job":%d,"n":%d,"lines":%s}'

# Functions that encode journal records. journal.py parses them.


def encode_start_record(key: AttemptKey) -> str:
    return _START_RECORD % key


def encode_pid_record(attempt: ReaperAttempt) -> str:
    born = attempt.spawned_at
    assert born
    return _PID_RECORD % (
        attempt.job, attempt.n, attempt.pid, attempt.spawn_ms, born.steady_ms, born.wall_ms
    )  # fmt: skip


def encode_ack_record(keys: list[AttemptKey]) -> str:
    return encode_json({"ack": keys})


# Functions that encode messages to the agent.


def encode_grew(attempt: ReaperAttempt) -> str:
    return _GREW % (attempt.job, attempt.n, encode_output(attempt))


def encode_status(attempt: ReaperAttempt, lines: list[str]) -> str:
    return _STATUS % (attempt.job, attempt.n, encode_json(lines))


def encode_frozen(attempt: ReaperAttempt) -> str:
    return _FROZEN % (attempt.job, attempt.n, encode_json(sorted(attempt.freeze_holders)))


def encode_started(attempt: ReaperAttempt) -> str:
    assert attempt.spawned_at
    return _STARTED % (attempt.job, attempt.n, attempt.pid, attempt.spawned_at.wall_ms)


def encode_recalled(keys: list[AttemptKey], *, late: bool = False) -> str:
    """late: this is no answer to `recall`."""
    message = {"type": "recalled", "attempts": keys}
    return encode_json({**message, "late": True} if late else message)


def encode_pong(journal_error: str) -> str:
    message = {"type": "pong"}
    return encode_json({**message, "journal_error": journal_error} if journal_error else message)


def encode_ended(
    attempt: ReaperAttempt, seq: int, ended_ms: int, following: AttemptKey | None = None
) -> str:
    """following: the attempt that starts in its place."""
    usage = attempt.usage
    return _ENDED % (
        seq, attempt.job, attempt.n, _encode_outcome(attempt.outcome()),
        _USAGE % (
            usage.wall_s, usage.user_s, usage.system_s, usage.peak_bytes, usage.read_bytes,
            usage.written_bytes, usage.switches, usage.processes,
            "true" if usage.exact else "false",
            f',"frozen_s":{usage.frozen_s:.3f}' if usage.frozen_s else "",
        ),
        attempt.spawned_at.wall_ms if attempt.spawned_at else "null", ended_ms,
        encode_output(attempt),
        _encode_notes(attempt) + (_NEXT % following if following else ""),
    )  # fmt: skip


def _encode_notes(attempt: ReaperAttempt) -> str:
    notes = ""
    if attempt.has_small_output:
        data = [b2a_base64(each.held, newline=False).decode("ascii") for each in attempt.sinks]
        notes += f',"data":{encode_json(data)}'
    if attempt.frozen_at_stop:
        notes += f',"frozen_at_stop":{encode_json(sorted(attempt.frozen_at_stop))}'
    if attempt.unenforced:
        notes += f',"unenforced":{encode_json(attempt.unenforced_sentences)}'
    if attempt.left:
        notes += f',"left":{encode_json(attempt.left)}'
    return notes


def encode_output(attempt: ReaperAttempt) -> str:
    """Return the sizes of the attempt's output as JSON: a list with `[written, head, tail]` for
    stdout and for a separate stderr, empty if nothing was written."""
    if not any(sink.written_bytes for sink in attempt.sinks):
        return "[]"
    return encode_json([sink.window for sink in attempt.sinks])


def _encode_outcome(outcome: Outcome) -> str:
    if type(outcome) is Exited:
        return _EXITED % outcome.code
    return encode_json(to_json(outcome))
