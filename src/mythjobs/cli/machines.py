"""`mythjobs machines` and the group `mythjobs machine`: who runs jobs, and what owners say."""

from __future__ import annotations

import click

from mythjobs import clock
from mythjobs.cli import hours, output, owner
from mythjobs.cli.base import Session, as_json, command, pass_session
from mythjobs.cli.times import say_clock
from mythjobs.model.units import clock_said


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
            ", ".join(filter(None, (each["state"], clock_said(each["clock_ms"])))),
            each["running"],
            each["jobs"],
            each["cores"] or "",
            owner.allowed(each["allow"]),
            say_clock(each["last_heard_ms"], now_ms),
        )
        for each in found
    ]
    headings = ("machine", "state", "running", "at most", "cores", "allowed", "last heard")
    output.table(headings, rows, ("running", "at most", "cores"))


machine = click.Group(
    "machine",
    commands=[
        owner.show, owner.edit, owner.set_, owner.allow, owner.deny,
        hours.open_, hours.close, hours.hours, hours.dead,
    ],
    no_args_is_help=True,
    help="Say what a machine may run, how much, and when.",
)  # fmt: skip
