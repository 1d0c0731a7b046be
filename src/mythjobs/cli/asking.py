"""Questions before what cannot be taken back."""

from __future__ import annotations

import sys

import click

from mythjobs.cli import terminal
from mythjobs.errors import BadRequest

yes_option = click.option("--yes", is_flag=True, help="Do it without asking.")
_NO: int = 1


def confirm(what: str, yes: bool) -> None:
    """Returns if the user wants it. Says so and ends with 1 if not; raises BadRequest where
    nobody can be asked."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise BadRequest(f"{what}; nobody can be asked here, so give --yes to go on")
    if not click.confirm(f"{what}; go on?", default=False, err=True):
        terminal.print_message("nothing was done")
        raise click.exceptions.Exit(_NO)
