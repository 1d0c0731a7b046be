"""Decides which messages incidents cause: at once, at growing intervals, at the end. Pure.

Incidents of one kind and subject share a notification. Its first incident is announced at once.
Further ones are counted, and announced when an interval has passed since the last message, which
grows with each message. When trouble ends, one message announces the end. After a quiet hour the
next incident is announced at once again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from mythjobs.model.incident import ENDS, Incident
from mythjobs.model.message_text import MessageFacts

# Minimum time between two messages about a notification, by the number of messages so far.
INTERVALS_MS: Final = (0, 60_000, 600_000, 3_600_000, 6 * 3_600_000, 86_400_000)
# Time without incidents after which the next one is announced at once.
QUIET_MS: Final = 3_600_000
# An end of trouble is announced when no trouble has come back for this long.
SETTLE_MS: Final = {"failed": 600_000, "lost": 0}
# Maximum time for which a message about returned machines waits for other lost machines.
RETURN_WAIT_MS: Final = 120_000
# A time further ahead was computed before the clock was set back.
_MAX_AHEAD_MS: Final = 25 * 3_600_000

Key = tuple[str, str]  # kind and subject


class Notification(NamedTuple):
    """All incidents of one kind and subject since `opened_ms`.

    last_ms: of the last incident. affected: jobs that the loss of this machine affected.
    announced: incidents and affected jobs that messages have announced. sent: number of messages
    since the last quiet hour, the last one at `sent_ms`. calm_ms: since when the trouble has ended,
    as far as is known. next_ms: when to decide again; None: at the next incident.
    ended_ms: when the notification ended; another incident within an hour opens it again.
    """

    notification_id: int
    kind: str
    subject: str
    name: str
    command: str
    opened_ms: int
    last_ms: int
    incidents: int = 0
    affected: int = 0
    announced: int = 0
    sent: int = 0
    sent_ms: int = 0
    calm_ms: int | None = None
    next_ms: int | None = None
    ended_ms: int | None = None
    read_ms: int | None = None
    job: int | None = None
    n: int = 0
    machine: str = ""
    detail: str = ""
    is_muted: int = 0

    @property
    def key(self) -> Key:
        return self.kind, self.subject

    @property
    def is_unannounced(self) -> bool:
        return self.incidents + self.affected > self.announced

    def may_send_ms(self, *, end: bool = False) -> int:
        """Return the time from which another message about this notification may be sent.

        end: for the message that announces the end of the trouble, which is sent sooner.
        """
        step = min(self.sent, len(INTERVALS_MS) - 1)
        return self.sent_ms + INTERVALS_MS[max(step - 1, 0) if end else step]

    def facts(self, kind: str) -> MessageFacts:
        return MessageFacts(
            kind,
            self.name,
            self.incidents,
            self.opened_ms,
            self.detail,
            self.job,
            self.n,
            self.machine,
            self.affected,
        )


class DecidedMessage(NamedTuple):
    """A decided message, about one notification or several machines."""

    kind: str
    notifications: tuple[Notification, ...]


class Decision(NamedTuple):
    """changed: notifications to store. announcements: messages, not yet for a channel."""

    changed: list[Notification]
    announcements: list[DecidedMessage]


def decide(
    known: Mapping[Key, Notification],
    incidents: Sequence[Incident],
    snoozed: Mapping[str, int],
    next_id: int,
    now_ms: int,
) -> Decision:
    """Return the notifications that incidents and the time change, and the messages to send.

    known: open notifications, and those that ended within the last hour. snoozed: for subjects
    (like "command 5") without messages, the time at which messages begin again. next_id: of the
    first new notification.
    """
    changed: dict[Key, Notification] = {}
    for each in incidents:
        if (loss := _find_loss(known, changed, each)) is not None:
            changed[loss.key] = _add_affected(loss, now_ms)
            continue
        kind = ENDS.get(each.kind, each.kind)
        key = (kind, each.subject)
        found = changed.get(key) or known.get(key)
        if kind != each.kind:
            if found is not None and found.ended_ms is None and found.calm_ms is None:
                changed[key] = found._replace(calm_ms=now_ms, next_ms=now_ms)
            continue
        if found is None:
            found = Notification(
                next_id, kind, each.subject, each.name, each.command, now_ms, now_ms
            )
            next_id += 1
        changed[key] = _add_incident(found, each, now_ms)
    current = {**known, **changed}
    is_return_due = _is_return_due(current, now_ms)
    announcements: list[DecidedMessage] = []
    for key, before in current.items():
        is_return = is_return_due and before.kind == "lost" and before.calm_ms is not None
        if key in changed or is_return or is_due(before.next_ms, now_ms):
            snoozed_ms = snoozed.get(before.subject, 0)
            after, kind = _take_step(before, snoozed_ms, is_return_due, now_ms)
            changed[key] = after
            if kind and not after.is_muted:
                announcements.append(DecidedMessage(kind, (after,)))
    return Decision(list(changed.values()), _join_machines(announcements))


def _find_loss(
    known: Mapping[Key, Notification], changed: Mapping[Key, Notification], incident: Incident
) -> Notification | None:
    """Return the open notification of the lost machine that has caused an incident of a job."""
    if not incident.is_loss or incident.machine_id is None:
        return None
    key = ("lost", f"machine {incident.machine_id}")
    found = changed.get(key) or known.get(key)
    return found if found is not None and found.ended_ms is None else None


def _add_affected(loss: Notification, now_ms: int) -> Notification:
    return loss._replace(
        affected=loss.affected + 1,
        last_ms=now_ms,
        next_ms=max(now_ms, loss.may_send_ms()),
        read_ms=None,
    )


def _add_incident(found: Notification, incident: Incident, now_ms: int) -> Notification:
    if found.incidents and now_ms - found.last_ms >= QUIET_MS:
        found = found._replace(sent=0)
    return found._replace(
        last_ms=now_ms,
        incidents=found.incidents + 1,
        calm_ms=None,
        next_ms=now_ms,
        ended_ms=None,
        read_ms=None,
        job=incident.job,
        n=incident.n,
        machine=incident.machine,
        detail=incident.detail,
        is_muted=int(incident.is_muted),
    )


def is_due(next_ms: int | None, now_ms: int) -> bool:
    """Return whether a notification is to be decided on: at its time, or when the clock was set
    back so far that its time would not come for long."""
    return next_ms is not None and (next_ms <= now_ms or next_ms > now_ms + _MAX_AHEAD_MS)


def _is_return_due(current: Mapping[Key, Notification], now_ms: int) -> bool:
    """Return whether the machines that have returned are announced now: when all lost ones have
    returned, or when one of them has waited long enough for the others."""
    lost = [each for each in current.values() if each.kind == "lost" and each.ended_ms is None]
    returns = [each.calm_ms for each in lost if each.calm_ms is not None]
    if not returns:
        return False
    return len(returns) == len(lost) or min(returns) + RETURN_WAIT_MS <= now_ms


def _take_step(
    each: Notification, snoozed_ms: int, is_return_due: bool, now_ms: int
) -> tuple[Notification, str]:
    """Return a notification after a decision, and the kind of the message to send, or ""."""
    if max(each.sent_ms, each.last_ms) > now_ms:  # the clock was set back
        calm_ms = None if each.calm_ms is None else min(each.calm_ms, now_ms)
        each = each._replace(
            sent_ms=min(each.sent_ms, now_ms), last_ms=min(each.last_ms, now_ms), calm_ms=calm_ms
        )
    if each.ended_ms is not None:
        # The hour in which another incident opens it again has passed.
        return each._replace(next_ms=None), ""
    may_send_ms = max(each.may_send_ms(), snoozed_ms)
    if each.calm_ms is not None:
        settled_ms = each.last_ms + SETTLE_MS[each.kind]
        if each.kind == "lost" and not is_return_due:
            settled_ms = max(settled_ms, each.calm_ms + RETURN_WAIT_MS)
        is_spaced = each.kind == "failed" or each.is_unannounced
        end_ms = max(each.may_send_ms(end=True) if is_spaced else 0, snoozed_ms, settled_ms)
        if now_ms < end_ms:
            return each._replace(next_ms=end_ms), ""
        return _mark_sent(each, now_ms, ended=True), _END_KINDS[each.kind]
    if each.is_unannounced:
        if now_ms < may_send_ms:
            return each._replace(next_ms=may_send_ms), ""
        return _mark_sent(each, now_ms), each.kind
    if each.kind in SETTLE_MS:
        return each._replace(next_ms=None), ""  # stays open until the trouble ends
    if now_ms < each.last_ms + QUIET_MS:
        return each._replace(next_ms=each.last_ms + QUIET_MS), ""
    return each._replace(ended_ms=now_ms, next_ms=now_ms + QUIET_MS), ""


_END_KINDS: Final = {kind: end for end, kind in ENDS.items()}


def _mark_sent(each: Notification, now_ms: int, *, ended: bool = False) -> Notification:
    return each._replace(
        announced=each.incidents + each.affected,
        sent=each.sent + 1,
        sent_ms=now_ms,
        ended_ms=now_ms if ended else None,
        next_ms=now_ms + QUIET_MS,
    )


def _join_machines(announcements: list[DecidedMessage]) -> list[DecidedMessage]:
    """Join messages about machines: if one cause separates many machines, one message tells it."""
    joined = [each for each in announcements if each.kind not in ENDS and each.kind != "lost"]
    joined += [each for each in announcements if each.kind == "recovered"]
    for kind in ("lost", "returned"):
        about = [each.notifications[0] for each in announcements if each.kind == kind]
        if about:
            joined.append(DecidedMessage(kind, tuple(about)))
    return joined
