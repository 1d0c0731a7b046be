"""Encoding of the link's frames."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from mythjobs.errors import ProtocolError
from mythjobs.model.units import parse_duration, parse_size
from mythjobs.protocol import codec
from mythjobs.protocol import messages as m
from mythjobs.protocol.run_spec import RunSpec


def test_a_large_frame_is_split_into_readable_frames() -> None:
    run = RunSpec(["/bin/true", "x" * 2**20])
    grants: list[m.MasterMessage] = [m.Grant(n, 1, n, 1, 0, run) for n in range(1, 41)]
    parts = list(codec.encode_master_frames(m.MasterFrame(7, grants)))
    assert max(map(len, parts)) < m.MAX_FRAME_BYTES
    frames = [codec.decode_master_frame(each) for each in parts]
    assert [each.ack for each in frames] == [0] * (len(frames) - 1) + [7]
    assert [message for frame in frames for message in frame.messages] == grants


def test_a_small_frame_is_not_split() -> None:
    frame = m.MasterFrame(3, [m.Renew(1), m.Settings(2)])
    [data] = codec.encode_master_frames(frame)
    assert codec.decode_master_frame(data) == frame


@pytest.mark.parametrize(
    "decode, text",
    [
        (
            codec.decode_agent_frame,
            b'{"no":1,"seen":1,"room":1,"messages":['
            b'{"type":"returned","job":1,"n":1,"reason":"TEXT"}]}',
        ),
        (
            codec.decode_master_frame,
            b'{"ack":0,"messages":[{"type":"grant","no":1,"hb":1,"job":1,"n":1,"priority":0,'
            b'"run":{"argv":["TEXT"]}}]}',
        ),
        (codec.decode_handshake, b'{"type":"refused","code":"","sentence":"TEXT"}'),
    ],
    ids=["agent", "master", "handshake"],
)
@pytest.mark.parametrize("damage", [b"\x80", b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xce"])
def test_a_text_that_is_not_utf_8_is_invalid(
    decode: Callable[[bytes], object], text: bytes, damage: bytes
) -> None:
    """Seen: UnicodeDecodeError, which ended an agent, and was an internal error of the master."""
    decode(text)
    with pytest.raises(ProtocolError, match="not UTF-8"):
        decode(text.replace(b"TEXT", damage))


def _encode(**changed: object) -> bytes:
    """Return an agent frame with one message of each kind, with changed fields."""
    ids = {"job": 1, "n": 1}
    messages: list[dict[str, object]] = [
        {"type": "hb", "hb": 1, "held": [[changed.get("job", 1), 1, "running"]], "wall_ms": 5},
        {"type": "started", **ids, "at_ms": 5},
        {"type": "frozen", **ids, "holders": []},
        {"type": "progress", **ids},
        {
            "type": "ended",
            **ids,
            "outcome": {},
            "started_ms": 5,
            "ended_ms": 5,
            "output": [[1] * 3],
        },
        {"type": "returned", **ids, "reason": ""},
        {"type": "output_offer", **ids, "stream": 1, "kept": 1},
        {"type": "output_end", "transfer": 1, "dropped": 1},
    ]
    frame: dict[str, object] = {"no": 1, "seen": 1, "room": 1, "messages": messages}
    for each in (frame, *messages):
        each |= {name: changed[name] for name in each if name in changed}
    return msgspec.json.encode(frame)


def test_the_frame_of_the_next_test_is_valid() -> None:
    assert len(codec.decode_agent_frame(_encode()).messages) == 8


@pytest.mark.parametrize("value", [-1, 2**63, 2**64])
@pytest.mark.parametrize("name", ["no", "seen", "hb", "job", "n", "stream", "kept", "transfer"])
def test_a_number_that_the_store_cannot_hold_is_refused(name: str, value: int) -> None:
    with pytest.raises(ProtocolError, match=r"Expected `int`|out of range"):
        codec.decode_agent_frame(_encode(**{name: value}))


@pytest.mark.parametrize("value", [2**53 + 1, -(2**53) - 1])
@pytest.mark.parametrize("name", ["room", "wall_ms", "at_ms", "started_ms", "ended_ms", "dropped"])
def test_an_instant_that_is_none_is_refused(name: str, value: int) -> None:
    with pytest.raises(ProtocolError, match="Expected `int`"):
        codec.decode_agent_frame(_encode(**{name: value}))


def test_output_sizes_that_cannot_be_added_are_refused() -> None:
    with pytest.raises(ProtocolError, match="Expected `int`"):
        codec.decode_agent_frame(_encode(output=[[1, 2**62, 2**62]]))


_IDS: dict[str, object] = {"job": 1, "n": 1}
_RUN = {
    "argv": ["true"], "wall_s": 1, "grace_s": 1, "keep": [1, 1], "cpu_s": 1, "idle_s": 1,
    "memory_bytes": 1, "output_bytes": 1, "processes": 1, "nice": 1,
}  # fmt: skip
_HOURS = {"grace_s": 1, "overrides": [["pause", 5]]}
_LIMITS: dict[str, object] = {
    name: value for name, value in _RUN.items() if name in m.CHANGEABLE_LIMITS
}
_MASTER_MESSAGES: dict[str, dict[str, object]] = {
    "grant": {
        "no": 1, "hb": 1, **_IDS, "priority": 1, "run": _RUN, "lease_s": 1, "start_by_s": 1,
        "hours": _HOURS,
    },
    "hours": {**_IDS, "hours": _HOURS},
    "limits": {**_IDS, **_LIMITS},
    "freeze": {**_IDS, "holder": "user", "on": True},
    "renew": {"hb": 1, "excepted": [[1, 1]]},
    "stop": {**_IDS, "by": "ann"},
    "stale": _IDS,
    "settings": {"jobs": 1, "control": {"until_ms": 5}},
    "output_fetch": {"transfer": 1, **_IDS, "stream": 1, "offset": 1},
    "output_credit": {"transfer": 1, "bytes": 1},
    "output_stop": {"transfer": 1},
    "output_kept": {**_IDS, "stream": 1},
}  # fmt: skip


def _list_numbers(value: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Return where numbers are in a message."""
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return [found for key, each in items for found in _list_numbers(each, (*path, key))]
    return [path] if type(value) is int else []


def _replace(value: Any, path: tuple[str | int, ...], number: object) -> Any:
    if not path:
        return number
    changed = copy.copy(value)
    changed[path[0]] = _replace(value[path[0]], path[1:], number)
    return changed


def _encode_master(kind: str, message: object, ack: object = 1) -> bytes:
    assert isinstance(message, dict)
    return msgspec.json.encode({"ack": ack, "messages": [{"type": kind, **message}]})


_NUMBERS = [
    (kind, path) for kind, message in _MASTER_MESSAGES.items() for path in _list_numbers(message)
]


@pytest.mark.parametrize("kind", _MASTER_MESSAGES)
def test_the_messages_of_the_next_tests_are_valid(kind: str) -> None:
    codec.decode_master_frame(_encode_master(kind, _MASTER_MESSAGES[kind]))


def test_the_next_test_has_all_messages_of_the_master() -> None:
    assert {each.__struct_config__.tag for each in m.MasterMessage.__args__} == set(
        _MASTER_MESSAGES
    )


@pytest.mark.parametrize(
    "number", [-(2**31), -(2**70), 2**70, 10**400], ids=["-2^31", "-2^70", "2^70", "10^400"]
)
@pytest.mark.parametrize("kind, path", _NUMBERS, ids=str)
def test_a_number_of_the_master_that_makes_no_sense_is_refused(
    kind: str, path: tuple[str | int, ...], number: int
) -> None:
    """Seen: an agent took job 2**70, and times of a thousand years ago."""
    if path == ("priority",) and number == -(2**31):
        return
    message = _replace(_MASTER_MESSAGES[kind], path, number)
    with pytest.raises(ProtocolError, match=r"^invalid message: .*(Expected `|out of range)"):
        codec.decode_master_frame(_encode_master(kind, message))


@pytest.mark.parametrize("ack", [-1, 2**63])
def test_an_acknowledgement_of_no_frame_is_refused(ack: int) -> None:
    with pytest.raises(ProtocolError, match=r"Expected `int`|out of range"):
        codec.decode_master_frame(_encode_master("stale", _IDS, ack))


@pytest.mark.parametrize("field", ["machine_id", "jobs", "heartbeat_s", "version"])
@pytest.mark.parametrize("number", [-1, 2**70])
def test_a_welcome_with_a_number_that_makes_no_sense_is_refused(field: str, number: int) -> None:
    given = {"version": 2, "signature": "", "machine_id": 1, "jobs": 1, "heartbeat_s": 5}
    codec.decode_handshake(msgspec.json.encode({"type": "welcome", **given}))
    with pytest.raises(ProtocolError, match=r"Expected `|out of range"):
        codec.decode_handshake(msgspec.json.encode({"type": "welcome", **given, field: number}))


def test_the_largest_values_of_a_definition_are_valid() -> None:
    longest_s, largest_bytes = parse_duration("36500d"), parse_size("8192TiB")
    run = RunSpec(["true"], {}, wall_s=longest_s, grace_s=longest_s, memory_bytes=largest_bytes)
    frame = m.MasterFrame(1, [m.Grant(1, 1, 1, 1, -100, run, lease_s=longest_s)])
    assert codec.decode_master_frame(codec.encode(frame)) == frame


@pytest.mark.parametrize("kind", ["x" * 100_000, "x\n2026-11-30 master: all is well", "\x1b[2J"])
def test_the_description_of_an_invalid_message_is_one_short_line(kind: str) -> None:
    """Seen: the log had whatever the other side had sent as the type of a message."""
    data = msgspec.json.encode({"no": 1, "seen": 0, "room": 1, "messages": [{"type": kind}]})
    with pytest.raises(ProtocolError) as caught:
        codec.decode_agent_frame(data)
    assert caught.value.sentence.isprintable()
    assert len(caught.value.sentence) < 400
