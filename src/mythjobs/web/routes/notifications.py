"""Routes for notifications, and for the channels that they are sent to."""

from __future__ import annotations

import json
from typing import Any, Final

import msgspec
from litestar import delete, get, post
from litestar.params import FromPath, FromQuery, JSONBody
from msgspec import Struct

from mythjobs.clock import master_now
from mythjobs.config.os_errors import explaining_os_errors
from mythjobs.errors import BadRequest, Conflict, NoSuchChannel, NoSuchCommand
from mythjobs.master.notify import requests
from mythjobs.master.notify.handlers import channel_not_found
from mythjobs.master.service import Master
from mythjobs.model.incident import DEFAULT_KINDS, KINDS
from mythjobs.model.message_text import check_template
from mythjobs.model.names import MAX_NAME_LENGTH, NAME_SYNTAX, is_short_name
from mythjobs.model.notify_policy import check_heartbeat_url
from mythjobs.protocol import notify_responses as responses
from mythjobs.store.queries.notifications import (
    MAX_LISTED,
    list_messages,
    list_notifications,
)
from mythjobs.web.routes.request import ApiRequest, get_master
from mythjobs.web.routes.validation import check_range, check_time_ms, is_valid_id
from mythjobs.web.server.openapi import error_responses

_MAX_URL: Final = 4000


class ReadNotifications(Struct, frozen=True, forbid_unknown_fields=True):
    """Notifications to mark as read; null: all."""

    ids: list[int] | None = None


class NewChannel(Struct, frozen=True, forbid_unknown_fields=True):
    """A channel. url: of apprise. kinds: of incidents, by default all but `batch`. commands: of
    which incidents are sent; none: of all, and of machines."""

    url: str
    kinds: list[str] = msgspec.field(default_factory=lambda: list(DEFAULT_KINDS))
    commands: list[str] = msgspec.field(default_factory=list)
    template: str = ""
    replace: bool = False


class SnoozeSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """name: of a channel, a command or a machine; "" is all channels. until_ms: null ends it."""

    name: str = ""
    until_ms: int | None = None


class HeartbeatUrl(Struct, frozen=True, forbid_unknown_fields=True):
    """URL that the master calls every minute; "" calls none."""

    url: str


@get("/notifications", summary="List notifications", responses=error_responses())
async def get_notifications(
    request: ApiRequest, unread: FromQuery[bool] = False, limit: FromQuery[int] = 100
) -> responses.Notifications:
    return await get_master(request).read(
        list_notifications, unread=unread, limit=check_range(limit, "limit", 1, MAX_LISTED)
    )


@post(
    "/notifications/read",
    status_code=200,
    summary="Mark notifications as read",
    responses=error_responses(),
)
async def read_notifications(
    request: ApiRequest, data: JSONBody[ReadNotifications]
) -> responses.NotificationsRead:
    ids = data.ids
    if ids is not None:
        ids = [each for each in ids if is_valid_id(each)]  # others do not exist
    return {"read": await get_master(request).execute(requests.MarkRead(ids))}


@get("/channels", summary="List channels and snoozes", responses=error_responses())
async def get_channels(request: ApiRequest) -> responses.Channels:
    return _list_channels(get_master(request))


@post(
    "/channels/{name:str}",
    status_code=200,
    summary="Add a channel",
    responses=error_responses(NoSuchCommand, Conflict),
)
async def add_channel(
    request: ApiRequest, name: FromPath[str], data: JSONBody[NewChannel]
) -> responses.Channels:
    if not is_short_name(name):
        syntax = f"{NAME_SYNTAX} (up to {MAX_NAME_LENGTH} characters)"
        raise BadRequest(f'the channel name "{name}" is invalid; use {syntax}')
    for each in data.kinds:
        if each not in KINDS:
            raise BadRequest(f'there is no kind "{each}"; known are {", ".join(KINDS)}')
    if not data.kinds:
        raise BadRequest(f"no kinds; name some of {', '.join(KINDS)}")
    if not 0 < len(data.url) <= _MAX_URL:
        raise BadRequest(
            f"the URL of channel {name} has {len(data.url)} characters; give one of 1 to {_MAX_URL}"
        )
    try:
        check_template(data.template)
    except ValueError as error:
        raise BadRequest(f"template: {error}") from None
    master = get_master(request)
    shown, error_text = await master.delivery.sender.check(data.url)
    if error_text:
        raise BadRequest(
            f"cannot add channel {name}: {error_text}; write it as apprise documents it, like "
            "mailto://user:password@example.org or ntfy://ntfy.sh/topic"
        )
    with explaining_os_errors(master.state_dir):
        sealed = master.delivery.seal.encrypt(data.url)
    kinds, commands = list(dict.fromkeys(data.kinds)), list(dict.fromkeys(data.commands))
    await master.execute(
        requests.AddChannel(name, sealed, shown, kinds, commands, data.template, data.replace)
    )
    return _list_channels(master)


@delete(
    "/channels/{name:str}",
    status_code=200,
    summary="Remove a channel",
    responses=error_responses(NoSuchChannel),
)
async def remove_channel(request: ApiRequest, name: FromPath[str]) -> responses.Channels:
    await get_master(request).execute(requests.RemoveChannel(name))
    return _list_channels(get_master(request))


@post(
    "/channels/{name:str}/test",
    status_code=200,
    summary="Send a test message to a channel",
    responses=error_responses(NoSuchChannel),
)
async def send_test_message(request: ApiRequest, name: FromPath[str]) -> responses.ChannelTested:
    master = get_master(request)
    found = master.state.notify.targets.get(name)
    if found is None:
        raise channel_not_found(name)
    error = await master.delivery.send_test(found.row.url, name)
    return {"name": name, "sent": not error, "error": error}


@post(
    "/snooze",
    status_code=200,
    summary="Send no messages for a while",
    responses=error_responses(),
)
async def snooze(request: ApiRequest, data: JSONBody[SnoozeSettings]) -> responses.Channels:
    until_ms = check_time_ms(data.until_ms, "until_ms")
    await get_master(request).execute(requests.Snooze(data.name, until_ms))
    return _list_channels(get_master(request))


@get("/messages", summary="List messages to channels", responses=error_responses())
async def get_messages(request: ApiRequest, limit: FromQuery[int] = 100) -> responses.SentMessages:
    return await get_master(request).read(list_messages, check_range(limit, "limit", 1, MAX_LISTED))


@post(
    "/heartbeat",
    status_code=200,
    summary="Set the URL that the master calls every minute",
    responses=error_responses(),
)
async def set_heartbeat(request: ApiRequest, data: JSONBody[HeartbeatUrl]) -> responses.Channels:
    master = get_master(request)
    sealed = ""
    if data.url:
        try:
            check_heartbeat_url(data.url)
        except ValueError as error:
            raise BadRequest(f"the heartbeat URL {error}") from None
        result = await master.delivery.sender.call(data.url)
        if result.error:
            raise BadRequest(f"cannot call the heartbeat URL: {result.error}")
        with explaining_os_errors(master.state_dir):
            sealed = master.delivery.seal.encrypt(data.url)
    await master.execute(requests.SetHeartbeat(sealed))
    return _list_channels(master)


def _list_channels(master: Master) -> responses.Channels:
    notify, now_ms = master.state.notify, master_now().wall_ms
    return {
        "channels": [
            {
                "name": row.name,
                "url": row.shown,
                "kinds": json.loads(row.kinds),
                "commands": json.loads(row.commands),
                "template": row.template,
                "created_ms": row.created_ms,
                "snoozed_ms": row.snoozed_ms if (row.snoozed_ms or 0) > now_ms else None,
                "failing_ms": row.failing_ms,
                "error": row.error,
                "sent_ms": row.sent_ms,
            }
            for row in (notify.targets[name].row for name in sorted(notify.targets))
        ],
        "snoozed": [
            {
                "kind": each.subject.partition(" ")[0],
                "name": each.name,
                "until_ms": each.until_ms,
            }
            for each in notify.snoozed.values()
            if each.until_ms > now_ms
        ],
        "heartbeat": master.delivery.describe_heartbeat(),
    }


ROUTES: Final[list[Any]] = [
    get_notifications,
    read_notifications,
    get_channels,
    add_channel,
    remove_channel,
    send_test_message,
    snooze,
    get_messages,
    set_heartbeat,
]
