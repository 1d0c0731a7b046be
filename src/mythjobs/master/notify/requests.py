"""Input of the master core about notifications and channels."""

from __future__ import annotations

from msgspec import Struct

from mythjobs.master.requests import Message, Request


class AddChannel(Request, frozen=True):
    """Add a channel. url: encrypted. shown: the URL without secrets.

    The response is the channel's name.
    """

    name: str
    url: str
    shown: str
    kinds: list[str]
    commands: list[str]
    template: str
    replace: bool = False


class RemoveChannel(Request, frozen=True):
    name: str


class Snooze(Request, frozen=True):
    """Send no messages to a channel, or about a command, schedule or machine, before `until_ms`.

    name: "" is all channels. until_ms: None ends a snooze. The response is what was found under
    the name: "channel", "command", "schedule" or "machine", or "channels".
    """

    name: str
    until_ms: int | None


class MarkRead(Request, frozen=True):
    """Mark notifications as read; None: all. The response has the ids that were unread."""

    ids: list[int] | None


class SetHeartbeat(Request, frozen=True):
    """Set the master's heartbeat URL, encrypted; "" removes it."""

    url: str


class DeliveryResult(Struct, frozen=True):
    """Result of a try to send a message. error: why it was not sent, "" if it was."""

    message_id: int
    channel_id: int
    topic: str
    created_ms: int
    tries: int
    error: str


class RecordDeliveries(Request, frozen=True):
    results: list[DeliveryResult]


class HastenMessages(Request, frozen=True):
    """The clock may have been set back: have messages from the future sent now."""


class SlowAttempt(Struct, frozen=True):
    machine_id: int
    job: int
    n: int
    elapsed_s: float
    usual_s: float


class ConditionsFound(Message, frozen=True):
    """What the watch has found: machines (ids) that are lost or have returned, slow attempts."""

    lost: list[int]
    returned: list[int]
    slow: list[SlowAttempt]
