"""`mythjobs status`: how the queue is, at a glance."""

from __future__ import annotations

from typing import Any

from mythjobs import clock
from mythjobs.cli import terminal
from mythjobs.cli.session import Session, as_json, command, pass_session
from mythjobs.cli.texts import clean
from mythjobs.cli.times import say_clock, say_time
from mythjobs.model.units import humanize_duration


@command("status")
@as_json
@pass_session
def status(session: Session, as_json: bool) -> None:
    """Show how many jobs wait and run, by command, and the machines."""
    found = session.client().get("status")
    if as_json:
        terminal.say_json(found)
        return
    now_ms = clock.master_now().wall_ms
    version, since_ms = clean(found["version"]), found["started_ms"]
    up_s = max(0, now_ms - since_ms) / 1000
    terminal.say(f"mythjobs {version}, up since {say_time(since_ms)} ({humanize_duration(up_s)})")
    terminal.say(f"store {clean(found['store'])}")
    counts = found["counts"]
    terminal.say("jobs  " + ", ".join(f"{counts[state]} {state}" for state in counts))
    _commands(found["commands"], now_ms)
    _machines(found["machines"])


def _commands(commands: list[dict[str, Any]], now_ms: int) -> None:
    if not commands:
        return
    terminal.say()
    rows = [
        (
            each["name"],
            each["queued"],
            each["running"],
            _age(each["oldest_ms"], now_ms) if each["queued"] else "",
            _off(each, now_ms),
        )
        for each in commands
    ]
    headings = ("command", "queued", "running", "oldest waits", "")
    terminal.plain_table(headings, rows, ("queued", "running"))


def _off(command: dict[str, Any], now_ms: int) -> str:
    """Why none of its jobs starts, whatever machines say."""
    if not command["enabled"]:
        return "disabled"
    until_ms = command["put_off_ms"]
    return "" if until_ms is None else f"put off until {say_clock(until_ms, now_ms)}"


def _age(since_ms: int | None, now_ms: int) -> str:
    return "" if since_ms is None else humanize_duration(max(0, now_ms - since_ms) / 1000)


def _machines(machines: list[dict[str, Any]]) -> None:
    terminal.say()
    if not machines:
        terminal.say("no machine; start one with `mythjobs agent`")
        return
    rows = [(each["name"], each["state"], each["running"], each["jobs"]) for each in machines]
    terminal.plain_table(("machine", "state", "running", "at most"), rows, ("running", "at most"))
