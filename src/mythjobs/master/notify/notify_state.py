"""What the master keeps in memory about notifications, channels and snoozes, between turns."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from mythjobs.master.isolation import Problem
from mythjobs.master.notify.notification import Key, Notification
from mythjobs.store.queries.notifications import find_commands_with_heartbeat
from mythjobs.store.transaction import Transaction
from mythjobs.store.writes import channels, notifications
from mythjobs.store.writes.channels import ChannelRow
from mythjobs.store.writes.notifications import SnoozeRow


class Target(NamedTuple):
    """A channel, with its settings decoded."""

    row: ChannelRow
    kinds: frozenset[str]
    commands: frozenset[str]


def make_target(row: ChannelRow) -> Target:
    return Target(row, frozenset(json.loads(row.kinds)), frozenset(json.loads(row.commands)))


@dataclass(frozen=True, slots=True)
class NotifyState:
    """A turn replaces the whole object, so drafts of the master's state share it.

    known: open notifications, and those that ended within the last hour. targets: by name.
    snoozed: by subject. pinged: ids of commands with a heartbeat URL.
    """

    known: Mapping[Key, Notification] = field(default_factory=dict)
    targets: Mapping[str, Target] = field(default_factory=dict)
    snoozed: Mapping[str, SnoozeRow] = field(default_factory=dict)
    pinged: frozenset[int] = frozenset()
    next_id: int = 1
    next_message_id: int = 1
    heartbeat: str = ""  # URL for the master itself, encrypted
    failing: frozenset[int] = frozenset()  # ids of commands that have not succeeded since a failure
    next_due_ms: int | None = None  # when notifications have to be decided on again

    def with_known(self, known: Mapping[Key, Notification], next_id: int) -> NotifyState:
        return replace(
            self,
            known=known,
            next_id=next_id,
            failing=_find_failing(known),
            next_due_ms=min((e.next_ms for e in known.values() if e.next_ms is not None),
                            default=None),
        )  # fmt: skip

    def with_heartbeat(self, command_id: int, *, has_url: bool) -> NotifyState:
        """Return the state after a command was defined with a heartbeat URL, or without."""
        pinged = self.pinged - {command_id}
        return replace(self, pinged=pinged | {command_id} if has_url else pinged)

    def with_messages(self, count: int) -> NotifyState:
        """Return the state after `count` messages were stored."""
        return replace(self, next_message_id=self.next_message_id + count)

    def with_targets(self, *changed: ChannelRow, removed: str = "") -> NotifyState:
        targets = {name: each for name, each in self.targets.items() if name != removed}
        return replace(self, targets=targets | {each.name: make_target(each) for each in changed})

    def has_listener(self, kind: str) -> bool:
        """Return whether any channel gets incidents of a kind."""
        return any(kind in each.kinds for each in self.targets.values())


_COMMAND: Final = "command "


def _find_failing(known: Mapping[Key, Notification]) -> frozenset[int]:
    return frozenset(
        int(each.subject.removeprefix(_COMMAND))
        for each in known.values()
        if each.kind == "failed" and each.ended_ms is None and each.calm_ms is None
    )


def load_notify_state(tx: Transaction) -> tuple[NotifyState, list[Problem]]:
    """Return the state, and the channels that get nothing because they cannot be read."""
    targets, problems = {}, []
    for each in channels.read_all(tx):
        try:
            targets[each.name] = make_target(each)
        except (ValueError, TypeError) as error:
            what = f"channel {each.name} gets no notifications, as its settings cannot be read"
            problems.append(Problem(what, error))
            targets[each.name] = make_target(each._replace(kinds="[]", commands="[]"))
    rows = [Notification(*row) for row in notifications.read_known(tx)]
    state = NotifyState(
        targets=targets,
        snoozed={each.subject: each for each in notifications.read_snoozes(tx)},
        pinged=find_commands_with_heartbeat(tx),
        next_message_id=channels.find_next_message_id(tx),
        heartbeat=channels.read_heartbeat(tx),
    )
    known = {each.key: each for each in rows}
    return state.with_known(known, notifications.find_next_id(tx)), problems
