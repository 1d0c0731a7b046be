"""`mythjobs notify`: channels to which notifications are sent, snoozes, and heartbeat URLs."""

from __future__ import annotations

from typing import Any, Final

import click

from mythjobs import clock
from mythjobs.cli import terminal
from mythjobs.cli.options import CHANNEL, COMMAND, DURATION, TEXT, IntegerType
from mythjobs.cli.session import Session, command, json_option, pass_session
from mythjobs.cli.times import format_end_time, format_short_time, format_time
from mythjobs.client.api_paths import channel_path
from mythjobs.client.client import Json
from mythjobs.config.bounded_files import read_input
from mythjobs.errors import BadRequest
from mythjobs.model.incident import DEFAULT_KINDS, KINDS
from mythjobs.model.message_text import PLACEHOLDERS

_EXIT_NOT_SENT: Final = 1
# Bytes of a template, which has at most 4000 characters.
_MAX_TEMPLATE_BYTES: Final = 16 * 1024
_ADD_EXAMPLES: Final = """Examples:
  mythjobs notify add mail mailto://user:password@example.org
  mythjobs notify add phone ntfy://ntfy.sh/my-topic --for failed,missed
  mythjobs notify add video tgram://TOKEN/CHAT --command transcode-h264"""
_name = click.argument("name", type=CHANNEL)


def _split_kinds(_: click.Context, __: click.Parameter, value: str | None) -> list[str] | None:
    if value is None:
        return None
    kinds = [each.strip() for each in value.split(",") if each.strip()]
    if kinds == ["all"]:
        return list(KINDS)
    for each in kinds:
        if each not in KINDS:
            raise click.BadParameter(f'"{each}" is none of {", ".join(KINDS)}, or all')
    return kinds


@command("add", epilog=_ADD_EXAMPLES)
@_name
@click.argument("url", type=TEXT, required=False)
@click.option(
    "--for", "kinds", callback=_split_kinds, metavar="KIND[,KIND…]",
    help=f"What is sent: {', '.join(KINDS)}, or all. Default: all but batch.",
)  # fmt: skip
@click.option(
    "--command", "commands", type=COMMAND, multiple=True,
    help="Only what concerns this command. Repeatable. Default: all commands, and machines.",
)  # fmt: skip
@click.option(
    "--template", type=click.Path(), metavar="FILE",
    help="Template of the messages: the first line is the title. Placeholders are "
    f"{', '.join('{' + each + '}' for each in PLACEHOLDERS)}.",
)  # fmt: skip
@click.option("--replace", is_flag=True, help="Replace a channel of this name.")
@json_option
@pass_session
def add(
    session: Session,
    name: str,
    url: str | None,
    kinds: list[str] | None,
    commands: tuple[str, ...],
    template: str | None,
    replace: bool,
    as_json: bool,
) -> None:
    """Send notifications to a channel: mail, a chat, a phone.

    URL is one of apprise (https://appriseit.com/services), with the password or token of the
    service. Without URL, or with -, it is read from the terminal or from stdin, so that it is in
    no history. It is stored encrypted, and never shown again.
    """
    if url is None or url == "-":
        url = terminal.read_secret("URL")
    _check_url(url)
    body: Json = {"url": url, "commands": list(commands), "replace": replace}
    if kinds is not None:
        body["kinds"] = kinds
    if template is not None:
        body["template"] = _read_template(template)
    found = session.client().post(channel_path(name), body, timeout_s=60)
    if as_json:
        terminal.print_json(found)
        return
    [added] = [each for each in found["channels"] if each["name"] == name]
    terminal.print_line(f"channel {name} added: {added['url']}, for {', '.join(added['kinds'])}")
    terminal.print_message(f"`mythjobs notify test {name}` sends a test message")


def _check_url(url: str) -> None:
    if not url:
        raise BadRequest("the URL is empty; give the one of the service")


def _read_template(path: str) -> str:
    try:
        return read_input(path, _MAX_TEMPLATE_BYTES).decode("utf-8")
    except OSError as error:
        raise BadRequest(f"cannot read the template {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise BadRequest(f"the template {path} must be UTF-8 text") from None


@command("list")
@json_option
@pass_session
def list_(session: Session, as_json: bool) -> None:
    """List the channels, snoozes and the master's heartbeat URL."""
    found = session.client().get("channels")
    if as_json:
        terminal.print_json(found)
        return
    _print_channels(found)


def _print_channels(found: Json) -> None:
    now_ms = clock.master_now().wall_ms
    if found["channels"]:
        rows = [
            (
                each["name"],
                each["url"],
                _describe_kinds(each["kinds"]),
                ", ".join(each["commands"]),
                "" if each["sent_ms"] is None else format_short_time(each["sent_ms"], now_ms),
                _describe_state(each, now_ms),
            )
            for each in found["channels"]
        ]
        headings = ("channel", "url", "for", "commands", "last sent", "state")
        terminal.print_table(headings, rows)
    else:
        terminal.print_line("no channels; `mythjobs notify add NAME URL` adds one")
    for each in found["snoozed"]:
        until = format_end_time(each["until_ms"], now_ms)
        terminal.print_line(f"no messages about {each['kind']} {each['name']} until {until}")
    if found["heartbeat"]:
        terminal.print_line(f"heartbeat of the master: {found['heartbeat']}, every minute")


def _describe_kinds(kinds: list[str]) -> str:
    if set(kinds) == set(KINDS):
        return "all"
    return "all but batch" if set(kinds) == set(DEFAULT_KINDS) else ", ".join(kinds)


def _describe_state(channel: dict[str, Any], now_ms: int) -> str:
    if channel["snoozed_ms"] is not None:
        return f"snoozed until {format_end_time(channel['snoozed_ms'], now_ms)}"
    if channel["failing_ms"] is not None:
        since = format_short_time(channel["failing_ms"], now_ms)
        return f"fails since {since}: {channel['error']}"
    return channel["error"] or "ok"


@command("test")
@_name
@json_option
@pass_session
def test(session: Session, name: str, as_json: bool) -> int:
    """Send a test message to a channel. Exits with 1 if it was not sent."""
    done = session.client().post(f"{channel_path(name)}/test", {}, timeout_s=90)
    if as_json:
        terminal.print_json(done)
    elif done["sent"]:
        terminal.print_line(f"test message sent to {name}")
    else:
        terminal.print_message(f"cannot send to {name}: {done['error']}")
    return 0 if done["sent"] else _EXIT_NOT_SENT


@command("remove")
@_name
@json_option
@pass_session
def remove(session: Session, name: str, as_json: bool) -> None:
    """Remove a channel. Messages that wait for it are dropped."""
    found = session.client().delete(channel_path(name))
    if as_json:
        terminal.print_json(found)
    else:
        terminal.print_line(f"channel {name} removed")


@command(
    "snooze",
    epilog="Examples:\n  mythjobs notify snooze --for 2h\n"
    "  mythjobs notify snooze transcode-h264 --for 1d\n  mythjobs notify snooze phone --end",
)
@click.argument("name", metavar="[CHANNEL|COMMAND|SCHEDULE|MACHINE]", type=CHANNEL, default="")
@click.option("--for", "for_s", type=DURATION, metavar="DURATION", help="How long.")
@click.option("--end", is_flag=True, help="End the snooze now.")
@json_option
@pass_session
def snooze(session: Session, name: str, for_s: float | None, end: bool, as_json: bool) -> None:
    """Send no messages for a while: to a channel, or about a command, schedule or machine.

    Without a name, to no channel. What happens meanwhile is counted, and sent in one message at the
    end. `mythjobs notifications` shows it at once.
    """
    if (for_s is None) == (not end):
        raise click.UsageError("give either --for DURATION or --end")
    until_ms = None if for_s is None else clock.master_now().wall_ms + round(1000 * for_s)
    found = session.client().post("snooze", {"name": name, "until_ms": until_ms})
    if as_json:
        terminal.print_json(found)
        return
    what = name or "all channels"
    until = "" if until_ms is None else format_time(until_ms)
    terminal.print_line(f"{what} snoozed until {until}" if until else f"{what} no longer snoozed")


@command("history")
@click.option(
    "--limit", type=IntegerType(1, 1000), default=50, show_default=True,
    help="List at most N, the newest.",
)  # fmt: skip
@json_option
@pass_session
def history(session: Session, limit: int, as_json: bool) -> None:
    """List the messages to channels: sent, pending and failed ones.

    Calls of heartbeat URLs are listed while they are pending, and if they have failed.
    """
    found = session.client().get("messages", {"limit": limit})["messages"]
    if as_json:
        terminal.print_json(found)
        return
    now_ms = clock.master_now().wall_ms
    rows = [
        (
            format_short_time(each["created_ms"], now_ms),
            each["channel"] or ("heartbeat" if each["kind"] == "heartbeat" else "removed"),
            each["title"],
            terminal.Cell(each["state"], "failed" if each["state"] == "failed" else ""),
            each["tries"],
            each["error"],
        )
        for each in found
    ]
    terminal.print_table(("at", "channel", "message", "state", "tries", "error"), rows, ("tries",))


@command(
    "heartbeat",
    epilog="Examples:\n  mythjobs notify heartbeat https://hc-ping.com/UUID\n"
    "  mythjobs notify heartbeat --off",
)
@click.argument("url", type=TEXT, required=False)
@click.option("--off", is_flag=True, help="Call no URL any more.")
@json_option
@pass_session
def heartbeat(session: Session, url: str | None, off: bool, as_json: bool) -> None:
    """Have the master call a URL every minute while it works.

    A service that expects the calls, such as healthchecks.io or Uptime Kuma, reports when they end:
    when the master, its machine or its network is down. The key `heartbeat` in a command's
    definition calls a URL at start and end of its jobs. With - as URL it is read from the terminal
    or from stdin, so that it is in no history.
    """
    if (url is None) == (not off):
        raise click.UsageError("give either a URL or --off", click.get_current_context())
    if url == "-":
        url = terminal.read_secret("URL")
    if url is not None:
        _check_url(url)
    found = session.client().post("heartbeat", {"url": url or ""}, timeout_s=60)
    if as_json:
        terminal.print_json(found)
    elif off:
        terminal.print_line("the master calls no heartbeat URL")
    else:
        terminal.print_line(f"the master calls {found['heartbeat']} every minute")


notify_group = click.Group(
    "notify",
    commands=[add, list_, test, remove, snooze, history, heartbeat],
    no_args_is_help=True,
    help="Send notifications by mail, to chats or phones, through the services of apprise.",
)
