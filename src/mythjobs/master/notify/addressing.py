"""Addresses decided messages to channels. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from mythjobs.master.notify.notification import DecidedMessage
from mythjobs.master.notify.notify_state import Target
from mythjobs.model.heartbeat_url import HeartbeatCall, make_call_url
from mythjobs.model.message_text import MessageFacts, make_title
from mythjobs.store.writes.channels import MessageRow, compute_heartbeat_id

HEARTBEAT_KIND: Final = "heartbeat"


def address(
    announcement: DecidedMessage,
    targets: Iterable[Target],
    find_template: Callable[[str], str],
    now_ms: int,
) -> list[MessageRow]:
    """Return a message for each channel that gets the announcement, without an id.

    find_template: returns the template of a command by its name, "" if it has none.
    """
    first = announcement.notifications[0]
    facts = [each.facts(announcement.kind) for each in announcement.notifications]
    # A pending message is replaced by one about the same machines, not by one about others.
    topic = f"{first.kind} {', '.join(sorted(each.subject for each in announcement.notifications))}"
    rows = []
    for target in targets:
        if _accepts(target, announcement.kind, first.command, first.subject):
            template = target.row.template
            if not template and first.command:
                template = find_template(first.command)
            rows.append(
                MessageRow(
                    0,
                    target.row.channel_id,
                    topic,
                    announcement.kind,
                    json.dumps([each._asdict() for each in facts]),
                    template,
                    make_title(facts),
                    now_ms,
                    max(now_ms, target.row.snoozed_ms or 0),
                )
            )
    return rows


def _accepts(target: Target, kind: str, command: str, subject: str) -> bool:
    if kind == "channel":  # every other channel reports it, whatever kinds it gets
        return subject != f"channel {target.row.channel_id}"
    return kind in target.kinds and (not target.commands or command in target.commands)


def make_call_rows(calls: Sequence[HeartbeatCall], now_ms: int) -> list[MessageRow]:
    """Return calls of heartbeat URLs as messages, without an id."""
    rows = []
    for each in calls:
        url = make_call_url(each)
        if url:
            title = f"{each.event} of {each.command}, job {each.job}"
            rows.append(
                MessageRow(
                    0,
                    compute_heartbeat_id(each.url),
                    f"job {each.job} {each.event}",
                    HEARTBEAT_KIND,
                    json.dumps({"url": url}),
                    "",
                    title,
                    now_ms,
                    now_ms,
                )
            )
    return rows


def decode_facts(text: str) -> list[MessageFacts]:
    """Return the facts of a message, as address() has encoded them."""
    found: list[dict[str, Any]] = json.loads(text)
    return [MessageFacts(**each) for each in found]
