"""`mythjobs machines` and the group `mythjobs machine`: who runs jobs, and what owners say."""

from __future__ import annotations

import click

from mythjobs import clock
from mythjobs.cli import terminal
from mythjobs.cli.commands import machine_hours, machine_settings
from mythjobs.cli.session import Session, command, json_option, pass_session
from mythjobs.cli.times import format_short_time
from mythjobs.model.units import describe_clock_skew


@command("machines")
@json_option
@pass_session
def machines(session: Session, as_json: bool) -> None:
    """List the machines."""
    found = session.client().get("machines")["machines"]
    if as_json:
        terminal.print_json(found)
        return
    now_ms = clock.master_now().wall_ms
    rows = [
        (
            each["name"],
            ", ".join(filter(None, (each["state"], describe_clock_skew(each["clock_ms"])))),
            each["running"],
            each["jobs"],
            each["cores"] or "",
            machine_settings.format_allowed(each["allow"]),
            format_short_time(each["last_heard_ms"], now_ms),
        )
        for each in found
    ]
    headings = ("machine", "state", "running", "at most", "cores", "allowed", "last heard")
    terminal.print_table(headings, rows, ("running", "at most", "cores"))


machine = click.Group(
    "machine",
    commands=[
        machine_settings.show, machine_settings.edit, machine_settings.set_,
        machine_settings.allow, machine_settings.deny,
        machine_hours.open_, machine_hours.close, machine_hours.hours, machine_hours.dead,
    ],
    no_args_is_help=True,
    help="Say what a machine may run, how much, and when.",
)  # fmt: skip
