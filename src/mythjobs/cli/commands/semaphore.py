"""`mythjobs semaphore`: what jobs share beyond one machine, in units."""

from __future__ import annotations

import click

from mythjobs.cli import terminal
from mythjobs.cli.session import TEXT, Session, command, json_option, pass_session
from mythjobs.client.client import Json
from mythjobs.client.paths import semaphore_path

_name = click.argument("name", type=TEXT)


@command("list")
@json_option
@pass_session
def list_(session: Session, as_json: bool) -> None:
    """List the semaphores, and how much of each the jobs that run have taken."""
    _print_semaphores(session.client().get("semaphores"), as_json)


@command("set", epilog="Example:\n  mythjobs semaphore set nas 3")
@_name
@click.argument("size", type=click.IntRange(min=0))
@click.option(
    "--free-when-frozen/--keep-when-frozen", "free", default=None,
    help="Whether a frozen job gives its units back until it goes on. It keeps them by itself.",
)  # fmt: skip
@json_option
@pass_session
def set_(session: Session, name: str, size: int, free: bool | None, as_json: bool) -> None:
    """Make a semaphore, or say how many units it has.

    Jobs that hold more than that run on; no other starts until there is room.
    """
    body = {"size": size} | ({} if free is None else {"free_when_frozen": free})
    _print_semaphores(session.client().post(semaphore_path(name), body), as_json)


@command("remove")
@_name
@json_option
@pass_session
def remove(session: Session, name: str, as_json: bool) -> None:
    """Remove a semaphore. Jobs that ask for it wait until it is there again."""
    _print_semaphores(session.client().delete(semaphore_path(name)), as_json)


def _print_semaphores(found: Json, as_json: bool) -> None:
    if as_json:
        terminal.print_json(found["semaphores"])
        return
    rows = [(each["name"], each["used"], each["size"]) for each in found["semaphores"]]
    terminal.print_table(("semaphore", "taken", "of"), rows, ("taken", "of"))


semaphore_group = click.Group(
    "semaphore",
    commands=[list_, set_, remove],
    no_args_is_help=True,
    help="Share what is scarce: jobs at once take at most so much.",
)
