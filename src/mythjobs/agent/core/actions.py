"""What the core asks the loop to do: nothing but values."""

from __future__ import annotations

from typing import NamedTuple

from mythjobs.agent.core.attempt import Attempt, Key, Output
from mythjobs.protocol import messages as m

Json = dict[str, object]


class Journal(NamedTuple):
    """Write this record, before any reaper is told more; once it is durable, call
    `journalled(token)`."""

    record: Json
    token: int


class Tell(NamedTuple):
    """Send these messages to this reaper, in this order."""

    reaper: str
    messages: list[Json]


class Follow(NamedTuple):
    """This attempt has new output, or is over: read its progress, send what is followed."""

    attempt: Attempt


class Transfer(NamedTuple):
    """The master's word about a transfer of output."""

    message: m.OutputFetch | m.OutputCredit | m.OutputStop


class Drop(NamedTuple):
    """The master has the output of this attempt: delete what is kept here."""

    key: Key
    output: Output


class Bury(NamedTuple):
    """All that this dead reaper's journal tells is acknowledged: remove its directory."""

    reaper: str


Action = Journal | Tell | Follow | Transfer | Drop | Bury
