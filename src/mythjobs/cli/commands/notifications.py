"""`mythjobs notifications`: what has gone wrong, and what has recovered, since it was last read."""

from __future__ import annotations

from typing import Any

import click

from mythjobs import clock
from mythjobs.cli import terminal
from mythjobs.cli.options import IntegerType
from mythjobs.cli.session import Session, command, json_option, pass_session
from mythjobs.cli.terminal import Cell
from mythjobs.cli.times import format_short_time
from mythjobs.client.client import Json

_STATES = {"failed": "failed", "lost": "failed", "held": "held", "channel": "failed"}


@command(
    "notifications",
    epilog="Examples:\n  mythjobs notifications\n  mythjobs notifications --all --limit 20",
)
@click.option("--all", "show_all", is_flag=True, help="List also those that have been read.")
@click.option("--read", "mark_read", is_flag=True, help="Mark the shown ones as read.")
@click.option(
    "--limit", type=IntegerType(1, 1000), default=100, show_default=True,
    help="List at most N, the newest.",
)  # fmt: skip
@json_option
@pass_session
def notifications(
    session: Session, show_all: bool, mark_read: bool, limit: int, as_json: bool
) -> None:
    """Show failed jobs, lost machines and missed runs that have not been read yet.

    What happens to one command or machine again is counted in one line. `mythjobs notify add` sends
    notifications by mail or to a chat.
    """
    client = session.client()
    query = {"limit": limit} | ({} if show_all else {"unread": "true"})
    found = client.get("notifications", query)["notifications"]
    if as_json:
        terminal.print_json(found)
    elif found:
        _print_table(found)
    else:
        terminal.print_line("no notifications" if show_all else "no unread notifications")
    unread = [each["id"] for each in found if not each["read"]]
    if mark_read and unread:
        client.post("notifications/read", {"ids": unread})
    elif unread and not as_json:
        terminal.print_message("`mythjobs notifications --read` marks them as read")


def _print_table(found: list[Json]) -> None:
    now_ms = clock.master_now().wall_ms
    rows = [
        (
            format_short_time(each["last_ms"], now_ms),
            Cell(each["kind"], _STATES.get(each["kind"], "")),
            each["name"],
            each["count"],
            "" if each["job"] is None else each["job"],
            _describe(each, now_ms),
        )
        for each in found
    ]
    headings = ("last", "what", "name", "times", "job", "reason")
    terminal.print_table(headings, rows, ("times", "job"))


def _describe(row: dict[str, Any], now_ms: int) -> str:
    parts = [row["sentence"]] if row["sentence"] else []
    if row["affected"]:
        parts.append(f"{row['affected']} of its jobs failed or are held")
    if row["recovered_ms"] is not None:
        verb = "is back" if row["kind"] == "lost" else "succeeds again"
        parts.append(f"{verb} since {format_short_time(row['recovered_ms'], now_ms)}")
    return "; ".join(parts)
