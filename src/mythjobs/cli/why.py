"""`mythjobs why`: what a job waits for, machine by machine and rule by rule."""

from __future__ import annotations

from typing import Any

import click

from mythjobs import clock
from mythjobs.cli import output
from mythjobs.cli.base import JOB, Session, as_json, command, pass_session
from mythjobs.cli.texts import clean, width
from mythjobs.cli.times import say_clock


@command("why")
@click.argument("job", type=JOB)
@as_json
@pass_session
def why(session: Session, job: int, as_json: bool) -> None:
    """Say why a job waits, or how it ended."""
    found = session.client().get(f"jobs/{job}/why")
    if as_json:
        output.say_json(found)
        return
    output.say(clean(": ".join(filter(None, (found["code"], found["sentence"])))))
    machines = found["machines"]
    widest = max((width(clean(each["machine"])) for each in machines), default=0)
    for each in machines:
        name = clean(each["machine"])
        rules = "  ".join(_rule(rule) for rule in each["rules"])
        output.say(f"  {name}{' ' * (widest - width(name))}  {rules}".rstrip())
    expected = _expected(found)
    if expected:
        output.say(expected)


def _rule(rule: dict[str, Any]) -> str:
    detail = clean(rule["detail"] or "")
    return f"{clean(rule['rule'])} {'✔' if rule['ok'] else '✘'}{' ' * bool(detail)}{detail}"


def _expected(found: dict[str, Any]) -> str:
    now_ms = clock.master_now().wall_ms
    start = say_clock(found["expected_start_ms"], now_ms)
    end = say_clock(found["expected_end_ms"], now_ms)
    words = [f"start {start}" if start else "", f"end about {end}" if end else ""]
    said = ", ".join(word for word in words if word)
    return f"expected {said}" if said else ""
