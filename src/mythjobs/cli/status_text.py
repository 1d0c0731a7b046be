"""Text of `mythjobs status`: counts of jobs by state and command, and the machines."""

from __future__ import annotations

from typing import Any, Final

from mythjobs import __version__, clock
from mythjobs.cli import terminal
from mythjobs.cli.terminal import Cell
from mythjobs.cli.times import format_end_time, format_short_time, format_time
from mythjobs.client.client import describe_versions
from mythjobs.model.units import humanize_duration, humanize_size

_MAX_NAMED: Final = 10
# The master counts no more unread notifications.
MAX_COUNTED: Final = 100


def print_status(found: dict[str, Any], *, as_json: bool) -> None:
    """Print the master's response to a request for its status."""
    if as_json:
        terminal.print_json(found)
        return
    now_ms = clock.master_now().wall_ms
    version, since_ms = found["version"], found["started_ms"]
    up_s = max(0, now_ms - since_ms) / 1000
    terminal.print_line(
        f"mythjobs {version}, up since {format_time(since_ms)} ({humanize_duration(up_s)})"
    )
    terminal.print_line(f"store {found['store']}")
    counts = found["counts"]
    shown = (terminal.colour(f"{n} {state}", state if n else "") for state, n in counts.items())
    print("jobs  " + ", ".join(shown))
    if kept := found.get("retention"):
        terminal.print_line(_describe_retention(kept))
    _print_commands(found["commands"], now_ms)
    _print_machines(found["machines"], now_ms)
    if version != __version__:
        terminal.print_message(describe_versions(version))
    for warning in found.get("warnings", ()):
        terminal.print_message(warning)
    if unread := found.get("notifications"):
        terminal.print_message(_describe_unread(unread))
    for each in found.get("failing_channels", ()):
        since = format_short_time(each["since_ms"], now_ms)
        terminal.print_message(
            f"messages to the channel {each['name']} have failed since {since}: {each['error']}"
        )
    for each in found.get("unusable_schedules", ()):
        terminal.print_message(
            f"the schedule {each['name']} submits no jobs: {each['error']}; change it with "
            f"`mythjobs schedule edit {each['name']}`, or remove the cause and restart the master"
        )
    if lost := found.get("lost"):
        terminal.print_message(_describe_lost(lost))
    for each in found.get("set_aside", ()):
        if each["kind"] == "schedule" and "unusable_schedules" in found:
            continue  # named above
        terminal.print_message(_describe_set_aside(each))


def _describe_retention(kept: dict[str, Any]) -> str:
    """Return a line with the number of ended jobs and the size of their output, and the limits."""
    jobs = "1 ended job" if kept["ended_jobs"] == 1 else f"{kept['ended_jobs']} ended jobs"
    if kept["jobs"] is not None:
        jobs += f" (at most {kept['jobs']} of a command)"
    age = "" if kept["age_s"] is None else f" for {humanize_duration(kept['age_s'])}"
    output = f"{humanize_size(kept['output_bytes'])} of output"
    if kept["output_limit_bytes"] is not None:
        output += f" (at most {humanize_size(kept['output_limit_bytes'])})"
    return f"kept  {jobs}{age or ' forever'}, {output}"


def _describe_unread(count: int) -> str:
    number = "100 or more" if count >= MAX_COUNTED else str(count)
    noun = "notification" if count == 1 else "notifications"
    return f"{number} unread {noun}; `mythjobs notifications` shows them"


def _describe_lost(jobs: list[int]) -> str:
    named = ", ".join(map(str, jobs[:_MAX_NAMED])) + (", …" if len(jobs) > _MAX_NAMED else "")
    them = "1 job is" if len(jobs) == 1 else f"{len(jobs)} jobs are"
    return (
        f"{them} held because of losses in a row, and may end their machine or reaper: {named}. "
        "`mythjobs show JOB` tells more, `mythjobs release --lost` runs all of them again"
    )


def _describe_set_aside(unit: dict[str, Any]) -> str:
    """Return a message: what the master skips after an internal error, and how to retry it."""
    error = f"after an internal error ({unit['error']}); the master's log has the traceback"
    match unit["kind"]:
        case "class":
            name = unit["command"]
            hint = f"`mythjobs command enable {name}`, or a restart of the master, tries again"
            return f"some jobs of {name} do not start {error}. {hint}"
        case "upkeep":
            return f"a batch is not made ready {error}. A restart of the master tries again"
        case kind:
            return (
                f"the {kind} of job {unit['id']} is left out {error}. "
                "A restart of the master tries again"
            )


def _print_commands(commands: list[dict[str, Any]], now_ms: int) -> None:
    if not commands:
        return
    terminal.print_line()
    rows = [
        (
            each["name"],
            each["queued"],
            each["running"],
            _format_age(each["oldest_ms"], now_ms) if each["queued"] else "",
            format_command_note(each, now_ms),
        )
        for each in commands
    ]
    headings = ("command", "queued", "running", "oldest waits", "note")
    terminal.print_table(headings, rows, ("queued", "running"))


def format_command_note(command: dict[str, Any], now_ms: int) -> str:
    """Return why no job of the command starts on any machine, empty if jobs may start."""
    if not command["enabled"]:
        return "disabled"
    until_ms = command.get("put_off_ms")
    return "" if until_ms is None else f"deferred until {format_end_time(until_ms, now_ms)}"


def _format_age(since_ms: int | None, now_ms: int) -> str:
    return "" if since_ms is None else humanize_duration(max(0, now_ms - since_ms) / 1000)


def format_limit(machine: dict[str, Any]) -> str:
    """Return how many jobs a machine runs at most: a number, or that it decides by its load."""
    return "by load" if machine["by_load"] else str(machine["jobs"])


def format_control(control: dict[str, Any], now_ms: int) -> str:
    """Return "drained", "paused until 07:00", both, or ""."""
    texts = ["drained"] if control["drained"] else []
    if control["paused"]:
        until_ms = control["until_ms"]
        end = "" if until_ms is None else f" until {format_end_time(until_ms, now_ms)}"
        texts.append(f"paused{end}")
    return ", ".join(texts)


def _print_machines(machines: list[dict[str, Any]], now_ms: int) -> None:
    terminal.print_line()
    if not machines:
        terminal.print_line("no machine has connected; start an agent with `mythjobs agent`")
        return
    rows = [
        (each["name"], _format_state(each, now_ms), each["running"], format_limit(each))
        for each in machines
    ]
    terminal.print_table(("machine", "state", "running", "limit"), rows, ("running", "limit"))


def _format_state(machine: dict[str, Any], now_ms: int) -> Cell:
    state, control = machine["state"], format_control(machine["control"], now_ms)
    return Cell(f"{state}, {control}" if control else state, state)
