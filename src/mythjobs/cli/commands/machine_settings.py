"""`mythjobs machine show`, `edit`, `set`, `allow` and `deny`: what an owner says for good."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import click

from mythjobs import clock
from mythjobs.cli import terminal
from mythjobs.cli.files import definition_file
from mythjobs.cli.files.editor import edit_text
from mythjobs.cli.files.toml_text import format_toml
from mythjobs.cli.session import COMMAND, MACHINE, TEXT, Session, command, json_option, pass_session
from mythjobs.cli.texts import sanitize
from mythjobs.cli.times import format_short_time
from mythjobs.client.client import Client, Json
from mythjobs.client.paths import machine_path
from mythjobs.model.units import describe_clock_skew

_EXAMPLES: Final = """Examples:
  mythjobs machine set attic --jobs 2
  mythjobs machine set attic --zone Europe/Berlin
  mythjobs machine show attic > attic.toml; mythjobs machine set cellar attic.toml"""
machine_argument = click.argument("machine", type=MACHINE)


@command("show")
@machine_argument
@json_option
@pass_session
def show(session: Session, machine: str, as_json: bool) -> None:
    """Show what a machine's owner says of it.

    As TOML that `machine set` takes.
    """
    found = session.client().get(machine_path(machine))
    if as_json:
        terminal.print_json(found)
        return
    for line in _format_header(found):
        terminal.print_line(sanitize(f"# {line}"))
    print(format_toml(found["settings"]), end="")


def _format_header(found: Json) -> Iterator[str]:
    now_ms = clock.master_now().wall_ms
    zone = f", its clock shows {found['zone']}" if found["zone"] else ""
    yield f"{found['name']}: {found['state']}, runs {found['running']} of {found['jobs']}{zone}"
    if differs := describe_clock_skew(found["clock_ms"]):
        yield differs
    for each in found["overrides"]:
        word = "open" if each["kind"] == "allow" else "closed"
        what = each["command"] or "every command"
        when = format_short_time(each["until_ms"], now_ms)
        yield f"{word} for {what} until {when}, whatever windows say"


@command("edit", epilog="Example:\n  EDITOR=nano mythjobs machine edit attic")
@machine_argument
@pass_session
def edit(session: Session, machine: str) -> None:
    """Edit in $EDITOR what a machine's owner says of it.

    Keys: jobs, zone, labels, files, allow, [windows] open closing grace, [limits], and for one
    command [commands.NAME] with allow, jobs, windows and limits of its own.
    """
    client = session.client()
    before = client.get(machine_path(machine))["settings"]
    done = edit_text(
        machine, format_toml(before), lambda text, path: _store(client, machine, text, path)
    )
    terminal.print_line(_format_changed(done))


def _store(client: Client, machine: str, text: str, path: str) -> Json:
    from mythjobs.model.machine_policy import policy_from_table

    table = definition_file.parse_definition(text, path, policy_from_table)
    return client.post(f"{machine_path(machine)}/settings", {"settings": table})


@command("set", epilog=_EXAMPLES)
@machine_argument
@click.argument("file", required=False, type=click.Path(allow_dash=True))
@click.option("--jobs", type=click.IntRange(min=0), metavar="N", help="At most N jobs at once.")
@click.option("--zone", type=TEXT, help="The time zone of its windows, like Europe/Berlin.")
@json_option
@pass_session
def set_(
    session: Session,
    machine: str,
    file: str | None,
    jobs: int | None,
    zone: str | None,
    as_json: bool,
) -> None:
    """Set what a machine's owner says of it.

    One thing of it, or all of it from a TOML file. A file replaces all that was said. It holds at
    once; what runs already runs on.
    """
    if (file is None) == (jobs is None and zone is None):
        raise click.UsageError("give a file, or --jobs or --zone", click.get_current_context())
    client = session.client()
    if file is not None:
        _print_changed(_store(client, machine, definition_file.read_text(file), file), as_json)
        return
    given = {"jobs": jobs, "zone": zone}
    change = {key: value for key, value in given.items() if value is not None}
    _print_changed(client.post(machine_path(machine), change), as_json)


@command(
    "allow",
    epilog="Examples:\n  mythjobs machine allow attic transcode-h264 backup\n"
    "  mythjobs machine allow attic --all",
)
@machine_argument
@click.argument("commands", metavar="[COMMAND…]", type=COMMAND, nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Every command, also those to come.")
@json_option
@pass_session
def allow(
    session: Session, machine: str, commands: tuple[str, ...], everything: bool, as_json: bool
) -> None:
    """Let a machine run these commands."""
    if bool(commands) == everything:
        raise click.UsageError("name commands, or give --all", click.get_current_context())
    body = {"allow": "all" if everything else list(commands)}
    _print_changed(session.client().post(machine_path(machine), body), as_json)


@command("deny", epilog="Example:\n  mythjobs machine deny attic backup")
@machine_argument
@click.argument("commands", metavar="COMMAND…", type=COMMAND, nargs=-1, required=True)
@json_option
@pass_session
def deny(session: Session, machine: str, commands: tuple[str, ...], as_json: bool) -> None:
    """Do not let a machine run these commands. What runs already runs on."""
    body = {"deny": list(commands)}
    _print_changed(session.client().post(machine_path(machine), body), as_json)


def _print_changed(found: Json, as_json: bool) -> None:
    if as_json:
        terminal.print_json(found)
    else:
        terminal.print_line(_format_changed(found))


def _format_changed(found: Json) -> str:
    jobs = "1 job" if found["jobs"] == 1 else f"{found['jobs']} jobs"
    words = f"{found['name']} runs at most {jobs}; allowed: {format_allowed(found['allow'])}"
    windows = found["settings"].get("windows", {}).get("open", [])
    return sanitize(words + (f"; open {', '.join(windows)}" if windows else ""))


def format_allowed(allow: Any) -> str:
    """Which commands a machine may run, from what the API says."""
    if allow == "all":
        return "all"
    if "except" in allow:
        return f"all but {', '.join(allow['except'])}"
    return ", ".join(allow["listed"]) or "nothing"
