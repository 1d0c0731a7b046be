"""`mythjobs lan`: whether the master can be reached from other machines."""

from __future__ import annotations

import click

from mythjobs.cli import terminal
from mythjobs.cli.session import Session, command, json_option, pass_session
from mythjobs.client.client import Json

_NETWORK = "network"


@command("on")
@json_option
@pass_session
def on(session: Session, as_json: bool) -> None:
    """Let other machines join this master.

    Its port then listens on all addresses, with TLS. Only agents can use it from the network:
    commands, jobs and output stay on this machine. The setting is kept for the next start.
    """
    _print_status(session.client().post(_NETWORK, {"open": True}), as_json)


@command("off")
@json_option
@pass_session
def off(session: Session, as_json: bool) -> None:
    """Listen on this machine only.

    Other machines are disconnected. Their running jobs continue until their leases end.
    """
    _print_status(session.client().post(_NETWORK, {"open": False}), as_json)


@command("status")
@json_option
@pass_session
def status(session: Session, as_json: bool) -> None:
    """Show whether other machines can reach this master, and where."""
    _print_status(session.client().get(_NETWORK), as_json)


def _print_status(found: Json, as_json: bool) -> None:
    if as_json:
        terminal.print_json(found)
    elif not found["open"]:
        terminal.print_line("this machine only; `mythjobs lan on` lets other machines join")
    elif not found["addresses"]:
        terminal.print_line(f"open on port {found['port']}, but this machine is on no network")
    else:
        terminal.print_line(f"open at {', '.join(found['addresses'])}")
        terminal.print_line("`mythjobs machine invite` prints the line that adds a machine")


lan_group = click.Group(
    "lan",
    commands=[on, off, status],
    no_args_is_help=True,
    help="Open the master's port to other machines on the network, or close it.",
)
