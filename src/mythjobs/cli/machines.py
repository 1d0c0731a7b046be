"""`mythjobs machines` and `mythjobs machine`: who runs jobs, which, and how many."""

from __future__ import annotations

from typing import Any

import click

from mythjobs import clock
from mythjobs.cli import output
from mythjobs.cli.base import COMMAND, TEXT, Session, as_json, command, pass_session
from mythjobs.cli.texts import clean
from mythjobs.cli.times import say_clock
from mythjobs.client.client import quote

_name = click.argument("machine", type=TEXT)


@command("machines")
@as_json
@pass_session
def machines(session: Session, as_json: bool) -> None:
    """List the machines."""
    found = session.client().get("machines")["machines"]
    if as_json:
        output.say_json(found)
        return
    now_ms = clock.master_now().wall_ms
    rows = [
        (
            each["name"],
            each["state"],
            each["running"],
            each["jobs"],
            each["cores"] or "",
            _allowed(each["allow"]),
            say_clock(each["last_heard_ms"], now_ms),
        )
        for each in found
    ]
    headings = ("machine", "state", "running", "at most", "cores", "allowed", "last heard")
    output.table(headings, rows, ("running", "at most", "cores"))


def _allowed(allow: Any) -> str:
    if isinstance(allow, dict):
        return f"all but {', '.join(allow['except'])}"
    return ", ".join(allow) or "nothing" if isinstance(allow, list) else str(allow)


@command("allow")
@_name
@click.argument("commands", metavar="[COMMAND…]", type=COMMAND, nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Every command, also those to come.")
@as_json
@pass_session
def allow(
    session: Session, machine: str, commands: tuple[str, ...], everything: bool, as_json: bool
) -> None:
    """Let a machine run these commands."""
    if bool(commands) == everything:
        raise click.UsageError("name commands, or give --all", click.get_current_context())
    _change(session, machine, {"allow": "all" if everything else list(commands)}, as_json)


@command("deny")
@_name
@click.argument("commands", metavar="COMMAND…", type=COMMAND, nargs=-1, required=True)
@as_json
@pass_session
def deny(session: Session, machine: str, commands: tuple[str, ...], as_json: bool) -> None:
    """Do not let a machine run these commands. What runs already runs on."""
    _change(session, machine, {"deny": list(commands)}, as_json)


@command("set")
@_name
@click.option(
    "--jobs", type=click.IntRange(min=0), metavar="N", required=True, help="At most N jobs at once."
)
@as_json
@pass_session
def set_(session: Session, machine: str, jobs: int, as_json: bool) -> None:
    """Set how many jobs a machine runs at once. It holds at once; what runs already runs on."""
    _change(session, machine, {"jobs": jobs}, as_json)


def _change(session: Session, machine: str, change: dict[str, Any], as_json: bool) -> None:
    found = session.client().post(f"machines/{quote(machine)}", change)
    if as_json:
        output.say_json(found)
        return
    output.say(
        clean(f"{found['name']} runs at most {found['jobs']} jobs; allowed: ")
        + clean(_allowed(found["allow"]))
    )


machine = click.Group(
    "machine",
    commands=[allow, deny, set_],
    no_args_is_help=True,
    help="Say what a machine may run, and how much.",
)
