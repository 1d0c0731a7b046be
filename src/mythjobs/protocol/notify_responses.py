"""Response types of the API about notifications and channels."""

from __future__ import annotations

from typing import TypedDict


class NotificationRow(TypedDict):
    """Incidents of one kind and subject. recovered_ms: since when the trouble has ended."""

    id: int
    kind: str
    name: str
    count: int
    affected: int
    since_ms: int
    last_ms: int
    ended_ms: int | None
    recovered_ms: int | None
    read: bool
    job: int | None
    attempt: int | None
    machine: str
    sentence: str


class Notifications(TypedDict):
    notifications: list[NotificationRow]


class NotificationsRead(TypedDict):
    read: list[int]


class ChannelDetails(TypedDict):
    """A channel; `url` has no secrets. failing_ms: since when messages fail; null: they do not."""

    name: str
    url: str
    kinds: list[str]
    commands: list[str]
    template: str
    created_ms: int
    snoozed_ms: int | None
    failing_ms: int | None
    error: str
    sent_ms: int | None


class SnoozedSubject(TypedDict):
    name: str
    kind: str
    until_ms: int


class Channels(TypedDict):
    """heartbeat: the master's heartbeat URL without its path, "" if none is set."""

    channels: list[ChannelDetails]
    snoozed: list[SnoozedSubject]
    heartbeat: str


class SentMessage(TypedDict):
    id: int
    channel: str
    kind: str
    title: str
    state: str
    created_ms: int
    sent_ms: int | None
    next_ms: int | None
    tries: int
    error: str


class SentMessages(TypedDict):
    messages: list[SentMessage]


class ChannelTested(TypedDict):
    """Result of a test message. error: why it was not sent, "" if it was."""

    name: str
    sent: bool
    error: str
