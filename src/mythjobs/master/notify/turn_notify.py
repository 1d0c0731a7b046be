"""Notifications in a turn: stores what the incidents of the turn change, and the messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from mythjobs.errors import MythJobsError
from mythjobs.master.isolation import OwnWork, Problem
from mythjobs.master.notify.addressing import address, make_call_rows
from mythjobs.master.notify.notification import Notification, decide, is_due
from mythjobs.master.turn_context import TurnContext
from mythjobs.model.incident import Incident
from mythjobs.model.units import humanize_duration
from mythjobs.store.queries.batches import read_batch
from mythjobs.store.writes import channels, counters, notifications
from mythjobs.store.writes.channels import MessageRow

# Numbers of the newest notifications and messages that are kept.
KEPT_NOTIFICATIONS: Final = 2000
KEPT_MESSAGES: Final = 5000
_MAX_DETAIL: Final = 1000


def process_incidents(turn: TurnContext, work: OwnWork) -> None:
    """Store the changes that follow from this turn's incidents and from the time.

    An internal error in decisions about notifications is logged and fails no turn.
    """
    state = turn.state.notify
    if turn.tx.batch_count_changes and state.has_listener("batch"):
        _add_batch_incidents(turn)
    due_ms = state.next_due_ms
    has_timer = due_ms is not None and bool(work & OwnWork.TIMERS)
    if turn.incidents or (has_timer and is_due(due_ms, turn.now.wall_ms)):
        _decide(turn)
    if turn.heartbeat_calls:
        _add_messages(turn, make_call_rows(turn.heartbeat_calls, turn.now.wall_ms))
        turn.heartbeat_calls.clear()


def _decide(turn: TurnContext) -> None:
    state, now_ms = turn.state.notify, turn.now.wall_ms
    incidents = [*_find_causes(turn), *turn.incidents]
    turn.incidents.clear()
    try:
        snoozed = {subject: each.until_ms for subject, each in state.snoozed.items()}
        decision = decide(state.known, incidents, snoozed, state.next_id, now_ms)
        rows = [
            row
            for each in decision.announcements
            for row in address(
                each, state.targets.values(), lambda name: _find_template(turn, name), now_ms
            )
        ]
    except Exception as error:
        turn.problems.append(Problem("cannot decide on notifications; dropped them", error))
        turn.state.notify = state.with_known({}, state.next_id)
        return
    _save(turn, decision.changed)
    if rows:
        _add_messages(turn, rows)


def _find_causes(turn: TurnContext) -> list[Incident]:
    """Return incidents of machines that are not connected, and not known to be lost, for jobs that
    were lost with them: one message about a machine replaces those about its jobs."""
    causes = {}
    for each in turn.incidents:
        machine = turn.state.machines.get(each.machine_id or 0) if each.is_loss else None
        if machine is not None and machine.connection is None:
            incident = make_machine_incident("lost", machine.machine_id, turn)
            found = turn.state.notify.known.get(("lost", incident.subject))
            if found is None or found.ended_ms is not None:
                causes[machine.machine_id] = incident
    return list(causes.values())


def make_machine_incident(kind: str, machine_id: int, turn: TurnContext) -> Incident:
    machine = turn.state.machines[machine_id]
    detail = ""
    if kind == "lost":
        silent_s = (turn.now.steady_ms - machine.last_frame_ms) / 1000
        detail = f"no contact for {humanize_duration(round(silent_s))}"
        if not machine.last_frame_ms:
            detail = "no contact since the master started"
        if machine.live_attempts:
            count = len(machine.live_attempts)
            detail += f"; {'1 job is' if count == 1 else f'{count} jobs are'} there"
    return Incident(
        kind,
        f"machine {machine_id}",
        machine.name,
        detail,
        machine=machine.name,
        machine_id=machine_id,
    )


def _find_template(turn: TurnContext, name: str) -> str:
    try:
        revision = turn.catalog.find_command(turn.tx, name)
        return turn.catalog.decoded_command(revision).notify.template
    except MythJobsError:  # the command was removed, or a newer version wrote its definition
        return ""


def _save(turn: TurnContext, changed: Sequence[Notification]) -> None:
    state = turn.state.notify
    known = dict(state.known)
    rows = []
    next_id = state.next_id
    for each in changed:
        each = each._replace(detail=each.detail[:_MAX_DETAIL].replace("\0", "\ufffd"))
        rows.append(each._asdict())
        next_id = max(next_id, each.notification_id + 1)
        if each.ended_ms is not None and each.next_ms is None:
            known.pop(each.key, None)
        else:
            known[each.key] = each
    notifications.save(turn.tx, rows, state.next_id)
    if next_id > state.next_id:
        notifications.delete_old(turn.tx, next_id - KEPT_NOTIFICATIONS)
    turn.state.notify = state.with_known(known, next_id)
    if turn.state.notify.next_due_ms is not None:
        turn.state.schedule_turn(turn.state.notify.next_due_ms)


def _add_messages(turn: TurnContext, rows: Sequence[MessageRow]) -> None:
    first_id = turn.state.notify.next_message_id
    numbered = [each._replace(message_id=first_id + i) for i, each in enumerate(rows)]
    if not numbered:
        return
    channels.add_messages(turn.tx, numbered)
    channels.delete_old_messages(turn.tx, first_id + len(numbered) - KEPT_MESSAGES)
    turn.state.notify = turn.state.notify.with_messages(len(numbered))
    turn.has_messages = True


def _add_batch_incidents(turn: TurnContext) -> None:
    completed = counters.write_changes(turn.tx)
    turn.tx.completed_batches += completed
    for batch_id in completed:
        batch = read_batch(turn.tx, batch_id)
        counts, command = batch["counts"], batch["command"] or "a removed command"
        ended = ", ".join(f"{counts[state]} {state}" for state in counts if counts[state])
        turn.incidents.append(
            Incident(
                "batch",
                f"batches of {command}",
                command,
                f"batch {batch_id}: {ended}",
                command=command,
            )
        )
