"""Events that a MythTV backend sends to monitors. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from mythjobs.errors import ProtocolError
from mythjobs.mythtv.protocol.frames import parse_program
from mythjobs.mythtv.recording import parse_time

_NUMBER: Final = re.compile(r"-?[0-9]{1,18}")


@dataclass(frozen=True)
class SystemEvent:
    """A SYSTEM_EVENT. `fields` are its pairs, such as CHANID and STARTTIME."""

    name: str
    fields: Mapping[str, str]

    @property
    def recording_status(self) -> int | None:
        """Status of the recording as in `recording.RECORDED`, None for another event."""
        return _parse_number(self.fields.get("RECSTATUS", ""))

    @property
    def recording_key(self) -> tuple[int, int] | None:
        """(chanid, start in ms), None for an event that is not about a recording."""
        try:
            start_ms = parse_time(self.fields.get("STARTTIME"))
        except ProtocolError:
            return None
        chanid = _parse_number(self.fields.get("CHANID", ""))
        return None if start_ms is None or chanid is None else (chanid, start_ms)


@dataclass(frozen=True)
class RecordingUpdated:
    """The backend has written a recording's row. `status` as in `recording.RECORDED`."""

    chanid: int
    start_ms: int
    status: int


MonitorEvent = SystemEvent | RecordingUpdated


def parse_event(message: Sequence[str], version: int) -> MonitorEvent | None:
    """Return the event in a BACKEND_MESSAGE; None for another message, and for events that say
    nothing about one recording."""
    if len(message) < 2 or message[0] != "BACKEND_MESSAGE":
        return None
    name, _, rest = message[1].partition(" ")
    if name == "SYSTEM_EVENT":
        return _parse_system_event(rest)
    if name == "RECORDING_LIST_CHANGE" and rest.split()[:1] == ["UPDATE"]:
        return _parse_update(message[2:], version)
    return None


def _parse_system_event(text: str) -> SystemEvent:
    name, _, rest = text.partition(" ")
    fields = {}
    # SENDER ends the event. Names of devices stand before it and may contain blanks, so they are
    # cut off: "VIDEODEVICE /opt/recorder --infile x VBIDEVICE  SENDER mythbox".
    rest, _, sender = rest.rpartition("SENDER ")
    if sender:
        fields["SENDER"] = sender.strip()
    rest, _, device = rest.partition("VIDEODEVICE ")
    if device:
        fields["VIDEODEVICE"] = device.rpartition("VBIDEVICE")[0].strip()
    parts = rest.split()
    fields |= dict(zip(parts[::2], parts[1::2], strict=False))
    return SystemEvent(name, fields)


def _parse_update(fields: Sequence[str], version: int) -> RecordingUpdated | None:
    program = parse_program(fields, version)
    if program is None:
        return None  # a text with the separator in it has shifted the fields
    numbers = [_parse_number(program[each]) for each in ("chanid", "recstartts", "recstatus")]
    chanid, start_s, status = numbers
    if chanid is None or start_s is None or status is None:
        return None
    return RecordingUpdated(chanid, start_s * 1000, status)


def _parse_number(text: str) -> int | None:
    """Return the number, None for a text that is none, or of more digits than MythTV has."""
    return int(text) if _NUMBER.fullmatch(text) else None
