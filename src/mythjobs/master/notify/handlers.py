"""Handlers of requests about channels, snoozes, notifications and delivered messages."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from mythjobs.errors import BadRequest, Conflict, NoSuchChannel
from mythjobs.master.attempts.job_incidents import is_muted
from mythjobs.master.notify import requests as r
from mythjobs.master.notify.retries import FAILING_AFTER, find_next_try_ms
from mythjobs.master.notify.turn_notify import make_machine_incident
from mythjobs.master.requests import Request
from mythjobs.master.turn_context import TurnContext
from mythjobs.model.command import RUN
from mythjobs.model.incident import MACHINE_KINDS, Incident
from mythjobs.model.units import humanize_duration
from mythjobs.store.writes import channels, commands, notifications
from mythjobs.store.writes.channels import ChannelRow, is_heartbeat
from mythjobs.store.writes.notifications import SnoozeRow

MAX_CHANNELS: Final = 100


def add_channel(turn: TurnContext, request: r.AddChannel) -> str:
    """Add a channel. Raises Conflict if the name is in use, unless `replace` is set."""
    found = turn.state.notify.targets.get(request.name)
    if found is not None and not request.replace:
        raise Conflict(
            f'there is a channel "{request.name}"; choose another name, or replace it with '
            "--replace"
        )
    if found is None and len(turn.state.notify.targets) >= MAX_CHANNELS:
        raise Conflict(f"there are {MAX_CHANNELS} channels; remove one first")
    for name in request.commands:
        turn.catalog.find_command(turn.tx, name)
    if request.commands and set(request.kinds) <= MACHINE_KINDS:
        raise BadRequest(
            f"channel {request.name} would get nothing: {' and '.join(sorted(request.kinds))} is "
            "about machines, and the channel gets only what concerns some commands; omit them"
        )
    if found is not None:
        channels.remove(turn.tx, found.row.channel_id)
    row = ChannelRow(
        0,
        request.name,
        request.url,
        request.shown,
        json.dumps(request.kinds),
        json.dumps(request.commands),
        request.template,
        turn.now.wall_ms,
    )
    turn.state.notify = turn.state.notify.with_targets(channels.add(turn.tx, row))
    if found is not None:
        end_notifications(turn, f"channel {found.row.channel_id}")
    return request.name


def remove_channel(turn: TurnContext, request: r.RemoveChannel) -> str:
    """Remove a channel, with its pending messages. Raises NoSuchChannel."""
    row = _find_channel(turn, request.name)
    channels.remove(turn.tx, row.channel_id)
    turn.state.notify = turn.state.notify.with_targets(removed=row.name)
    end_notifications(turn, f"channel {row.channel_id}")
    return row.name


def _find_channel(turn: TurnContext, name: str) -> ChannelRow:
    found = turn.state.notify.targets.get(name)
    if found is None:
        raise channel_not_found(name)
    return found.row


def channel_not_found(name: str) -> NoSuchChannel:
    return NoSuchChannel(f'there is no channel "{name}"; see `mythjobs notify list`')


def end_notifications(turn: TurnContext, subject: str) -> None:
    """End the open notifications of a subject without a message."""
    state = turn.state.notify
    ended = [
        each._replace(ended_ms=turn.now.wall_ms, next_ms=None)
        for each in state.known.values()
        if each.subject == subject
    ]
    if ended:
        notifications.save(turn.tx, [each._asdict() for each in ended], state.next_id)
        known = {key: each for key, each in state.known.items() if each.subject != subject}
        turn.state.notify = state.with_known(known, state.next_id)


def snooze(turn: TurnContext, request: r.Snooze) -> str:
    """Snooze all channels, a channel, a command, a schedule or a machine, in this order.

    Messages that wait meanwhile are sent afterwards, one for each notification.
    Raises BadRequest if there is nothing of this name.
    """
    until_ms = request.until_ms
    if until_ms is not None and until_ms <= turn.now.wall_ms:
        raise BadRequest(f"the end of the snooze, {turn.format_time(until_ms)}, is in the past")
    targets = turn.state.notify.targets
    if not request.name or request.name in targets:
        chosen = [targets[request.name]] if request.name else list(targets.values())
        if not chosen:
            raise BadRequest("there is no channel to snooze; `mythjobs notify add` adds one")
        for each in chosen:
            changed = each.row._replace(snoozed_ms=until_ms)
            channels.save(turn.tx, changed)
            channels.delay_messages(turn.tx, changed.channel_id, until_ms or turn.now.wall_ms)
            turn.state.notify = turn.state.notify.with_targets(changed)
        turn.has_messages = True
        return "channel" if request.name else "channels"
    kind, subject = _find_subject(turn, request.name)
    snoozed: dict[str, SnoozeRow] = {}
    for old in turn.state.notify.snoozed.values():
        if old.subject == subject or old.until_ms <= turn.now.wall_ms:
            notifications.remove_snooze(turn.tx, old.subject)
        else:
            snoozed[old.subject] = old
    if until_ms is not None:
        snoozed[subject] = SnoozeRow(subject, request.name, until_ms)
        notifications.save_snooze(turn.tx, snoozed[subject])
    _decide_again(turn, subject, snoozed)
    return kind


def _find_subject(turn: TurnContext, name: str) -> tuple[str, str]:
    defined = commands.find_by_name(turn.tx, name)
    if defined is not None:
        return "command", f"command {defined.command_id}"
    schedule = turn.state.schedules.find(name)
    if schedule is not None:
        return "schedule", f"schedule {schedule.schedule_id}"
    for each in turn.state.machines.values():
        if each.name == name:
            return "machine", f"machine {each.machine_id}"
    raise BadRequest(f'there is no channel, command, schedule or machine "{name}" to snooze')


def _decide_again(turn: TurnContext, subject: str, snoozed: dict[str, SnoozeRow]) -> None:
    """Have this turn decide on the notifications of a subject whose snooze has changed."""
    state = replace(turn.state.notify, snoozed=snoozed)
    now_ms = turn.now.wall_ms
    known = {
        key: each._replace(next_ms=now_ms)
        if each.subject == subject and each.ended_ms is None
        else each
        for key, each in state.known.items()
    }
    turn.state.notify = state.with_known(known, state.next_id)


def mark_read(turn: TurnContext, request: r.MarkRead) -> list[int]:
    now_ms = turn.now.wall_ms
    ids = notifications.set_read(turn.tx, request.ids, now_ms)
    state, read = turn.state.notify, set(ids)
    known = {
        key: each._replace(read_ms=now_ms) if each.notification_id in read else each
        for key, each in state.known.items()
    }
    turn.state.notify = state.with_known(known, state.next_id)
    return sorted(ids)


def set_heartbeat(turn: TurnContext, request: r.SetHeartbeat) -> None:
    channels.save_heartbeat(turn.tx, request.url)
    turn.state.notify = replace(turn.state.notify, heartbeat=request.url)


def record_deliveries(turn: TurnContext, request: r.RecordDeliveries) -> None:
    """Store which messages were sent, and when to try the others again.

    Reports a channel on which several tries in a row have failed.
    """
    now_ms = turn.now.wall_ms
    rows = {each.row.channel_id: each.row for each in turn.state.notify.targets.values()}
    for each in request.results:
        if is_heartbeat(each.channel_id) and not each.error:
            # Calls are frequent, and would displace the messages from the history.
            channels.delete_message(turn.tx, each.message_id)
            continue
        next_ms = None
        if each.error:
            next_ms = find_next_try_ms(
                each.channel_id,
                each.topic,
                tries=each.tries,
                created_ms=each.created_ms,
                now_ms=now_ms,
            )
        channels.set_result(
            turn.tx,
            each.message_id,
            next_ms=next_ms,
            tries=each.tries,
            sent_ms=None if each.error else now_ms,
            error=each.error,
        )
        if each.channel_id in rows:
            rows[each.channel_id] = _count_result(turn, rows[each.channel_id], each.error)
    changed = [
        row
        for name, target in turn.state.notify.targets.items()
        if (row := rows[target.row.channel_id]) != target.row and name == row.name
    ]
    for row in changed:
        channels.save(turn.tx, row)
    turn.state.notify = turn.state.notify.with_targets(*changed)


def _count_result(turn: TurnContext, row: ChannelRow, error: str) -> ChannelRow:
    subject = f"channel {row.channel_id}"
    if not error:
        if row.failing_ms is not None:
            end_notifications(turn, subject)
        return row._replace(failures=0, failing_ms=None, error="", sent_ms=turn.now.wall_ms)
    row = row._replace(failures=row.failures + 1, error=error)
    if row.failures >= FAILING_AFTER and row.failing_ms is None:
        turn.incidents.append(Incident("channel", subject, row.name, error))
        row = row._replace(failing_ms=turn.now.wall_ms)
    return row


def record_conditions(turn: TurnContext, found: r.ConditionsFound) -> None:
    """Record incidents of machines and attempts, unless they have changed meanwhile."""
    machines = turn.state.machines
    for machine_id in found.lost:
        if machine_id in machines and machines[machine_id].connection is None:
            turn.incidents.append(make_machine_incident("lost", machine_id, turn))
    for machine_id in found.returned:
        if machine_id in machines and machines[machine_id].connection is not None:
            turn.incidents.append(make_machine_incident("returned", machine_id, turn))
    for each in found.slow:
        machine = machines.get(each.machine_id)
        attempt = machine.live_attempts.get(each.job) if machine else None
        if machine is None or attempt is None or attempt.n != each.n:
            continue
        command = turn.catalog.job_class(turn.tx, attempt.class_id).command
        if command.name == RUN:
            continue  # ad-hoc runs are of different programs, so that none has a usual run time
        elapsed, usual = (humanize_duration(round(s)) for s in (each.elapsed_s, each.usual_s))
        turn.incidents.append(
            Incident(
                "slow",
                f"command {attempt.command_id}",
                command.name,
                f"runs for {elapsed}, usually {usual}",
                command=command.name,
                job=each.job,
                n=each.n,
                machine=machine.name,
                machine_id=machine.machine_id,
                is_muted=is_muted(command, "slow"),
            )
        )


def hasten_messages(turn: TurnContext, _: r.HastenMessages) -> None:
    """Have messages sent now that wait for a time far ahead, because the clock was set back."""
    now_ms = turn.now.wall_ms
    rows = [each.row for each in turn.state.notify.targets.values()]
    snoozed = [each.channel_id for each in rows if (each.snoozed_ms or 0) > now_ms]
    channels.hasten_messages(turn.tx, now_ms, snoozed)


HANDLERS: Final[dict[type[Request], Callable[[TurnContext, Any], Any]]] = {
    r.AddChannel: add_channel,
    r.RemoveChannel: remove_channel,
    r.Snooze: snooze,
    r.MarkRead: mark_read,
    r.SetHeartbeat: set_heartbeat,
    r.RecordDeliveries: record_deliveries,
    r.HastenMessages: hasten_messages,
}
