"""`mythjobs machine invite`, `approve`, `rename` and `revoke`: which machines belong to a queue."""

from __future__ import annotations

from typing import Any, Final

import click

from mythjobs import clock
from mythjobs.cli import terminal
from mythjobs.cli.options import COMMAND, DURATION, MACHINE, TEXT
from mythjobs.cli.session import Session, command, json_option, pass_session, yes_option
from mythjobs.cli.terminal import confirm
from mythjobs.cli.times import format_end_time, format_short_time
from mythjobs.client.api_paths import join_request_path, machine_path
from mythjobs.client.client import Json

_INVITE_EXAMPLES: Final = """Examples:
  mythjobs machine invite
  mythjobs machine invite --name attic --allow transcode-h264 --allow backup"""
_APPROVE_EXAMPLES: Final = """Examples:
  mythjobs machine approve
  mythjobs machine approve attic"""
_allow_option = click.option(
    "--allow",
    type=COMMAND,
    multiple=True,
    metavar="COMMAND",
    help="Let the machine run only this command. Repeatable. Default: every command.",
)


@command("invite", epilog=_INVITE_EXAMPLES)
@click.option("--name", type=TEXT, default="", help="Name of the machine. Default: its host name.")
@_allow_option
@click.option(
    "--for",
    "for_s",
    type=DURATION,
    default="1h",
    show_default=True,
    help="How long the line is valid.",
)
@json_option
@pass_session
def invite(
    session: Session, name: str, allow: tuple[str, ...], for_s: float, as_json: bool
) -> None:
    """Print the line that adds a machine, to be typed there.

    The line has a secret that lets one machine join, once. Its machine runs jobs as the user who
    types it.
    """
    body: Json = {"name": name, "allow": list(allow) or "all", "for_s": for_s}
    invited = session.client().post("invitations", body)
    if as_json:
        terminal.print_json(invited)
        return
    until = format_end_time(invited["expires_ms"], clock.master_now().wall_ms)
    rights = f"only {', '.join(allow)}" if allow else "every command"
    terminal.print_message(f"valid once, until {until}; the machine may run {rights}. Type there:")
    terminal.print_line(f"mythjobs agent join {invited['token']}")


@command("approve", epilog=_APPROVE_EXAMPLES)
@click.argument("name", type=TEXT, required=False)
@_allow_option
@click.option("--reject", is_flag=True, help="Refuse the machine instead.")
@yes_option
@json_option
@pass_session
def approve(
    session: Session,
    name: str | None,
    allow: tuple[str, ...],
    reject: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Let a machine join that asks for it with `mythjobs agent join HOST`.

    Without a name, list the machines that ask. Approve one only if the six words here are those on
    its screen: otherwise somebody else answers in its place.
    """
    client = session.client()
    waiting: list[Json] = client.get("join-requests")["requests"]
    if name is None:
        _print_waiting(waiting, as_json)
        return
    shown = next((each for each in waiting if name in (each["name"], each["id"])), None)
    if shown is not None and not reject:
        code = " ".join(shown["code"])
        confirm(f"{shown['name']} must show the words: {code}. Let it join", yes)
    body: Json = {"approve": not reject, "allow": list(allow) or "all"}
    answer = client.post(join_request_path(name), body)
    if as_json:
        terminal.print_json(answer)
    elif answer["approved"]:
        terminal.print_line(f"{answer['name']} has joined")
        if not answer.get("new", True):  # a master of an older version does not send it
            terminal.print_message(describe_kept_rights(answer["name"], allow))
    else:
        terminal.print_line(f"{answer['name']} was rejected")


def describe_kept_rights(name: str, allow: tuple[str, ...]) -> str:
    """Return the sentence for a machine that joins again: an approval does not change its rights.

    allow: commands that the approval names.
    """
    if not allow:
        return f"{name} had joined before, and keeps its settings (`mythjobs machine show {name}`)"
    return (
        f"{name} had joined before: its rights stay as they were, and --allow was not applied; "
        f"`mythjobs machine allow {name} {' '.join(allow)}` adds these commands, `mythjobs machine "
        f"edit {name}` sets all its rights"
    )


def _print_waiting(waiting: list[Json], as_json: bool) -> None:
    if as_json:
        terminal.print_json(waiting)
        return
    if not waiting:
        terminal.print_message("no machine asks to join; type `mythjobs agent join HOST` there")
        return
    now_ms = clock.master_now().wall_ms
    rows: list[tuple[Any, ...]] = [
        (each["name"], each["id"], " ".join(each["code"]),
         format_short_time(each["expires_ms"], now_ms))
        for each in waiting
    ]  # fmt: skip
    terminal.print_table(("machine", "id", "words on its screen", "until"), rows)
    terminal.print_message("if a machine shows these words: `mythjobs machine approve NAME`")


@command("rename", epilog="Example:\n  mythjobs machine rename debian attic")
@click.argument("machine", type=MACHINE)
@click.argument("name", type=TEXT)
@json_option
@pass_session
def rename(session: Session, machine: str, name: str, as_json: bool) -> None:
    """Give a machine another name. Its jobs and settings stay."""
    renamed = session.client().post(f"{machine_path(machine)}/rename", {"name": name})
    if as_json:
        terminal.print_json(renamed)
        return
    terminal.print_line(f"{machine} is now named {renamed['name']}")


@command("revoke", epilog="Example:\n  mythjobs machine revoke attic")
@click.argument("machine", type=MACHINE)
@yes_option
@json_option
@pass_session
def revoke(session: Session, machine: str, yes: bool, as_json: bool) -> None:
    """Refuse a machine from now on: it was stolen, or is not part of the queue any more.

    Its running jobs end with their leases, and are treated as those of a lost machine.
    """
    client = session.client()
    found = client.get(machine_path(machine))
    jobs = "1 job" if found["leased"] == 1 else f"{found['leased']} jobs"
    confirm(f"{machine} has {jobs} and can never connect again with its key", yes)
    revoked = client.post(f"{machine_path(machine)}/revoke", {})
    if as_json:
        terminal.print_json(revoked)
        return
    terminal.print_line(f"{machine} is revoked")
