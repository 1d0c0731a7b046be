"""`mythjobs semaphore`: units of a resource that jobs on all machines share."""

from __future__ import annotations

import click

from mythjobs.cli import terminal
from mythjobs.cli.options import SEMAPHORE, IntegerType
from mythjobs.cli.session import Session, command, json_option, pass_session
from mythjobs.client.api_paths import semaphore_path
from mythjobs.client.client import Json

_name = click.argument("name", type=SEMAPHORE)


@command("list")
@json_option
@pass_session
def list_(session: Session, as_json: bool) -> None:
    """List the semaphores and how many units running jobs hold."""
    _print_semaphores(session.client().get("semaphores"), as_json)


@command("set", epilog="Example:\n  mythjobs semaphore set nas 3")
@_name
@click.argument("size", type=IntegerType(min=0))
@click.option(
    "--free-when-frozen/--keep-when-frozen", "free", default=None,
    help="Whether a frozen job releases its units until it is thawed. Default: it keeps them.",
)  # fmt: skip
@json_option
@pass_session
def set_(session: Session, name: str, size: int, free: bool | None, as_json: bool) -> None:
    """Create a semaphore, or set its number of units.

    If running jobs hold more units, they continue, and no other job starts until units are free.
    """
    body = {"size": size} | ({} if free is None else {"free_when_frozen": free})
    _print_semaphores(session.client().post(semaphore_path(name), body), as_json)


@command("remove")
@_name
@json_option
@pass_session
def remove(session: Session, name: str, as_json: bool) -> None:
    """Remove a semaphore. Jobs that require it wait until it is created again."""
    _print_semaphores(session.client().delete(semaphore_path(name)), as_json)


def _print_semaphores(found: Json, as_json: bool) -> None:
    if as_json:
        terminal.print_json(found["semaphores"])
        return
    rows = [(each["name"], each["used"], each["size"]) for each in found["semaphores"]]
    terminal.print_table(("semaphore", "used", "units"), rows, ("used", "units"))


semaphore_group = click.Group(
    "semaphore",
    commands=[list_, set_, remove],
    no_args_is_help=True,
    help="Limit how many units of a shared resource jobs use at once.",
)
