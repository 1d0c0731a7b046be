"""`mythjobs why`: what a job waits for, machine by machine and rule by rule; or a machine."""

from __future__ import annotations

from typing import Any

import click

from mythjobs import clock
from mythjobs.cli import terminal
from mythjobs.cli.session import JOB, MACHINE, Session, as_json, command, pass_session
from mythjobs.cli.texts import clean, width
from mythjobs.cli.times import say_clock
from mythjobs.client.paths import of_machine
from mythjobs.model.units import humanize_duration


@command("why", epilog="Examples:\n  mythjobs why 42\n  mythjobs why --machine attic")
@click.argument("job", type=JOB, required=False)
@click.option("--machine", type=MACHINE, help="Say what this machine waits for instead.")
@as_json
@pass_session
def why(session: Session, job: int | None, machine: str | None, as_json: bool) -> None:
    """Say why a job waits and when it may start, or how it ended.

    Machine by machine, rule by rule; they are the rules that place jobs. With --machine: why it
    does not run more than it does.
    """
    if (job is None) == (machine is None):
        raise click.UsageError("name a job, or give --machine", click.get_current_context())
    path = f"jobs/{job}/why" if machine is None else f"{of_machine(machine)}/why"
    found = session.client().get(path)
    if as_json:
        terminal.say_json(found)
        return
    terminal.say(clean(": ".join(filter(None, (found["code"], found["sentence"])))))
    if machine is None:
        _say_job(found)
    else:
        rows = [(e["command"], e["waiting"], e["code"], e["detail"]) for e in found["commands"]]
        if rows:
            terminal.table(("command", "waiting", "code", "reason"), rows, ("waiting",))


def _say_job(found: dict[str, Any]) -> None:
    machines = found["machines"]
    widest = max((width(clean(each["machine"])) for each in machines), default=0)
    for each in machines:
        name = clean(each["machine"])
        rules = "  ".join(_rule(rule) for rule in each["rules"])
        terminal.say(f"  {name}{' ' * (widest - width(name))}  {rules}".rstrip())
    expected = _expected(found)
    if expected:
        terminal.say(expected)


def _rule(rule: dict[str, Any]) -> str:
    detail = clean(rule["detail"] or "")
    return f"{clean(rule['rule'])} {'✔' if rule['ok'] else '✘'}{' ' * bool(detail)}{detail}"


def _expected(found: dict[str, Any]) -> str:
    now_ms = clock.master_now().wall_ms
    start_ms, end_ms = found["expected_start_ms"], found["expected_end_ms"]
    start, end = say_clock(start_ms, now_ms), say_clock(end_ms, now_ms)
    words = [f"start {start}" if start else "", f"end about {end}" if end else ""]
    said = ", ".join(word for word in words if word)
    usual = ""
    if start_ms is not None and end_ms is not None:
        usual = f" (usually {humanize_duration((end_ms - start_ms) / 1000)})"
    return f"expected {said}{usual}" if said else ""
