"""`mythjobs why`: why a job waits, by machine and rule, or why a machine does not run jobs."""

from __future__ import annotations

from typing import Any, Final

import click

from mythjobs import clock
from mythjobs.cli import terminal, waiting
from mythjobs.cli.options import JOB, MACHINE
from mythjobs.cli.session import Session, command, json_option, pass_session
from mythjobs.cli.times import format_short_time
from mythjobs.client.api_paths import machine_path
from mythjobs.model.units import humanize_duration

# Codes of jobs that failed and whose program ran: its output may tell the cause.
_RAN: Final = ("exited", "signalled", "breached")


@command("why", epilog="Examples:\n  mythjobs why 42\n  mythjobs why --machine attic")
@click.argument("job", type=JOB, required=False)
@click.option("--machine", type=MACHINE, help="Explain this machine instead.")
@json_option
@pass_session
def why(session: Session, job: int | None, machine: str | None, as_json: bool) -> None:
    """Explain why a job waits and when it may start, or how it ended.

    The list shows for each machine which scheduling rules permit the job there. With --machine:
    why that machine does not run more jobs.
    """
    if (job is None) == (machine is None):
        raise click.UsageError("name a job, or give --machine", click.get_current_context())
    path = f"jobs/{job}/why" if machine is None else f"{machine_path(machine)}/why"
    found = session.client().get(path)
    if as_json:
        terminal.print_json(found)
        return
    reason = ": ".join(filter(None, (found["code"], found["sentence"])))
    print(terminal.colour(reason, found.get("state", "")))
    if machine is None:
        _print_job(found)
        if found.get("state") == "failed" and found["code"] in _RAN:
            terminal.print_message(waiting.describe_log(found["id"]))
    else:
        rows = [(e["command"], e["waiting"], e["code"], e["detail"]) for e in found["commands"]]
        if rows:
            terminal.print_table(("command", "waiting", "code", "reason"), rows, ("waiting",))


def _print_job(found: dict[str, Any]) -> None:
    rows = [
        (each["machine"], "  ".join(_format_rule(rule) for rule in each["rules"]))
        for each in found["machines"]
    ]
    if rows:
        terminal.print_table(("machine", "rules"), rows)
    if expected := _format_expected(found):
        terminal.print_line(expected)


def _format_rule(rule: dict[str, Any]) -> str:
    return " ".join(filter(None, (rule["rule"], "✔" if rule["ok"] else "✘", rule["detail"])))


def _format_expected(found: dict[str, Any]) -> str:
    now_ms = clock.master_now().wall_ms
    start_ms, end_ms = found["expected_start_ms"], found["expected_end_ms"]
    start, end = format_short_time(start_ms, now_ms), format_short_time(end_ms, now_ms)
    parts = [f"start {start}" if start else "", f"end about {end}" if end else ""]
    if end_ms is not None and found["end_reported"]:
        left = humanize_duration(max(0, end_ms - now_ms) / 1000)
        parts[1] += f" (in {left}, says the program)"
    elif start_ms is not None and end_ms is not None:
        parts[1] += f" (usually {humanize_duration((end_ms - start_ms) / 1000)})"
    expected = ", ".join(filter(None, parts))
    return f"expected {expected}" if expected else ""
