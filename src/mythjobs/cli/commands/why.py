"""`mythjobs why`: what a job waits for, machine by machine and rule by rule; or a machine."""

from __future__ import annotations

from typing import Any

import click

from mythjobs import clock
from mythjobs.cli import terminal
from mythjobs.cli.session import JOB, MACHINE, Session, command, json_option, pass_session
from mythjobs.cli.texts import display_width, sanitize
from mythjobs.cli.times import format_short_time
from mythjobs.client.paths import machine_path
from mythjobs.model.units import humanize_duration


@command("why", epilog="Examples:\n  mythjobs why 42\n  mythjobs why --machine attic")
@click.argument("job", type=JOB, required=False)
@click.option("--machine", type=MACHINE, help="Say what this machine waits for instead.")
@json_option
@pass_session
def why(session: Session, job: int | None, machine: str | None, as_json: bool) -> None:
    """Say why a job waits and when it may start, or how it ended.

    Machine by machine, rule by rule; they are the rules that place jobs. With --machine: why it
    does not run more than it does.
    """
    if (job is None) == (machine is None):
        raise click.UsageError("name a job, or give --machine", click.get_current_context())
    path = f"jobs/{job}/why" if machine is None else f"{machine_path(machine)}/why"
    found = session.client().get(path)
    if as_json:
        terminal.print_json(found)
        return
    terminal.print_line(sanitize(": ".join(filter(None, (found["code"], found["sentence"])))))
    if machine is None:
        _print_job(found)
    else:
        rows = [(e["command"], e["waiting"], e["code"], e["detail"]) for e in found["commands"]]
        if rows:
            terminal.print_table(("command", "waiting", "code", "reason"), rows, ("waiting",))


def _print_job(found: dict[str, Any]) -> None:
    machines = found["machines"]
    widest = max((display_width(sanitize(each["machine"])) for each in machines), default=0)
    for each in machines:
        name = sanitize(each["machine"])
        rules = "  ".join(_format_rule(rule) for rule in each["rules"])
        terminal.print_line(f"  {name}{' ' * (widest - display_width(name))}  {rules}".rstrip())
    expected = _format_expected(found)
    if expected:
        terminal.print_line(expected)


def _format_rule(rule: dict[str, Any]) -> str:
    detail = sanitize(rule["detail"] or "")
    return f"{sanitize(rule['rule'])} {'✔' if rule['ok'] else '✘'}{' ' * bool(detail)}{detail}"


def _format_expected(found: dict[str, Any]) -> str:
    now_ms = clock.master_now().wall_ms
    start_ms, end_ms = found["expected_start_ms"], found["expected_end_ms"]
    start, end = format_short_time(start_ms, now_ms), format_short_time(end_ms, now_ms)
    words = [f"start {start}" if start else "", f"end about {end}" if end else ""]
    said = ", ".join(word for word in words if word)
    usual = ""
    if start_ms is not None and end_ms is not None:
        usual = f" (usually {humanize_duration((end_ms - start_ms) / 1000)})"
    return f"expected {said}{usual}" if said else ""
