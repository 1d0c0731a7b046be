"""`mythjobs machines` and `mythjobs machine`: the list of machines, and a machine's policy."""

from __future__ import annotations

from typing import Any, Final

import click

from mythjobs import clock
from mythjobs.cli import terminal
from mythjobs.cli.commands import machine_control, machine_joining, machine_overrides
from mythjobs.cli.files import definition_file
from mythjobs.cli.files.editor import edit_table
from mythjobs.cli.options import CEILING, COMMAND, LABEL, MACHINE, TEXT
from mythjobs.cli.session import Session, command, json_option, pass_session, yes_option
from mythjobs.cli.status_text import format_control, format_limit
from mythjobs.cli.terminal import Cell, confirm
from mythjobs.cli.times import format_short_time
from mythjobs.client.api_paths import machine_path
from mythjobs.client.client import Client, Json
from mythjobs.model.units import describe_clock_skew

_SET_EXAMPLES: Final = """Examples:
  mythjobs machine set attic --jobs 2
  mythjobs machine set attic --jobs auto
  mythjobs machine set attic --command transcode-h264 --jobs 1
  mythjobs machine set attic --zone Europe/Berlin
  mythjobs machine set attic --label fast-disk --no-label gpu
  mythjobs machine show attic > attic.toml; mythjobs machine set cellar attic.toml"""
_machine_argument = click.argument("machine", type=MACHINE)


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
            Cell(
                ", ".join(filter(None, _list_states(each, now_ms))),
                each["state"],
            ),
            each["running"],
            format_limit(each),
            "" if each["free"] is None else each["free"],
            each["cores"] or "",
            _format_allowed(each["allow"]),
            format_short_time(each["last_heard_ms"], now_ms),
        )
        for each in found
    ]
    headings = ("machine", "state", "running", "limit", "free", "cores", "allowed", "last message")
    terminal.print_table(headings, rows, ("running", "limit", "free", "cores"))


def _list_states(found: Json, now_ms: int) -> tuple[str, ...]:
    control = format_control(found["control"], now_ms)
    return found["state"], control, describe_clock_skew(found["clock_ms"])


@command("show")
@_machine_argument
@json_option
@pass_session
def show(session: Session, machine: str, as_json: bool) -> None:
    """Show a machine: its state and load as comments, its policy as TOML for `machine set`."""
    from mythjobs.cli.commands.machine_view import describe_machine
    from mythjobs.cli.files.toml_text import format_toml

    found = session.client().get(machine_path(machine))
    if as_json:
        terminal.print_json(found)
        return
    for line in describe_machine(found):
        terminal.print_line(f"# {line}")
    print(format_toml(found["settings"]), end="")


@command("edit", epilog="Example:\n  EDITOR=nano mythjobs machine edit attic")
@_machine_argument
@pass_session
def edit(session: Session, machine: str) -> None:
    """Edit the policy of a machine in $EDITOR.

    Keys: jobs, zone, labels, no_labels, files, paths, allow, [windows] open closing grace,
    [limits], and for one command [commands.NAME] with its own allow, jobs, windows and limits.
    """
    client = session.client()
    before = client.get(machine_path(machine))["settings"]
    done = edit_table(machine, before, lambda text, path: _store(client, machine, text, path))
    _print_policy(done, as_json=False)


def _store(client: Client, machine: str, text: str, path: str) -> Json:
    from mythjobs.model.machine_policy import policy_from_table

    table = definition_file.parse_definition(text, path, policy_from_table)
    return client.post(f"{machine_path(machine)}/settings", {"settings": table})


@command("set", epilog=_SET_EXAMPLES)
@_machine_argument
@click.argument("file", required=False, type=click.Path(allow_dash=True))
@click.option(
    "--jobs", type=CEILING, metavar="N|auto", help="At most N jobs at once; auto: no such limit."
)
@click.option("--command", "of", type=COMMAND, help="Apply --jobs to the jobs of this command.")
@click.option("--zone", type=TEXT, help="Time zone of the run windows, like Europe/Berlin.")
@click.option("--label", "labels", type=LABEL, multiple=True, help="Give the machine this label.")
@click.option(
    "--no-label", "no_labels", type=LABEL, multiple=True,
    help="Take this label away, also if the machine found it by itself.",
)  # fmt: skip
@json_option
@pass_session
def set_(
    session: Session,
    machine: str,
    file: str | None,
    jobs: int | str | None,
    of: str | None,
    zone: str | None,
    labels: tuple[str, ...],
    no_labels: tuple[str, ...],
    as_json: bool,
) -> None:
    """Change the policy of a machine.

    Changes some settings, or replaces the policy by a TOML file. The policy applies at once;
    running jobs continue.
    """
    given = {"jobs": jobs, "zone": zone, "command": of, "labels": labels, "no_labels": no_labels}
    change = {key: value for key, value in given.items() if value not in (None, ())}
    if (file is None) == (not change):
        hint = "give a file, or --jobs, --zone, --label or --no-label"
        raise click.UsageError(hint, click.get_current_context())
    if of is not None and jobs is None:
        raise click.UsageError("--command needs --jobs", click.get_current_context())
    client = session.client()
    if file is not None:
        _print_policy(_store(client, machine, definition_file.read_text(file), file), as_json)
        return
    _print_policy(client.post(machine_path(machine), change), as_json)


@command(
    "allow",
    epilog="Examples:\n  mythjobs machine allow attic transcode-h264 backup\n"
    "  mythjobs machine allow attic --all",
)
@_machine_argument
@click.argument("commands", metavar="[COMMAND…]", type=COMMAND, nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Every command, also future ones.")
@json_option
@pass_session
def allow(
    session: Session, machine: str, commands: tuple[str, ...], everything: bool, as_json: bool
) -> None:
    """Let a machine run these commands."""
    if bool(commands) == everything:
        raise click.UsageError("name commands, or give --all", click.get_current_context())
    body = {"allow": "all" if everything else list(commands)}
    _print_policy(session.client().post(machine_path(machine), body), as_json)


@command("deny", epilog="Example:\n  mythjobs machine deny attic backup")
@_machine_argument
@click.argument("commands", metavar="COMMAND…", type=COMMAND, nargs=-1, required=True)
@json_option
@pass_session
def deny(session: Session, machine: str, commands: tuple[str, ...], as_json: bool) -> None:
    """Do not let a machine run these commands. Running jobs continue."""
    body = {"deny": list(commands)}
    _print_policy(session.client().post(machine_path(machine), body), as_json)


def _print_policy(found: Json, as_json: bool) -> None:
    if as_json:
        terminal.print_json(found)
        return
    jobs = "at most 1 job" if found["jobs"] == 1 else f"at most {found['jobs']} jobs"
    if found["by_load"]:
        jobs = "as many jobs as its load permits"
    ceilings = [
        f"{each['jobs']} of {name}"
        for name, each in found["settings"].get("commands", {}).items()
        if "jobs" in each
    ]
    jobs += f" (at most {', '.join(ceilings)})" if ceilings else ""
    text = f"{found['name']} runs {jobs}; allowed: {_format_allowed(found['allow'])}"
    settings = found["settings"]
    more = (
        ("open", settings.get("windows", {}).get("open")),
        ("labels", settings.get("labels")),
        ("without", settings.get("no_labels")),
        ("zone", [settings["zone"]] if settings.get("zone") else []),
    )
    terminal.print_line(
        text + "".join(f"; {word} {', '.join(each)}" for word, each in more if each)
    )


def _format_allowed(allow: Any) -> str:
    """Return a text for the value `allow` of the API: the commands that a machine may run."""
    if allow == "all":
        return "all"
    if "except" in allow:
        return f"all but {', '.join(allow['except'])}"
    return ", ".join(allow["listed"]) or "nothing"


@command(
    "dead", epilog='Example:\n  mythjobs machine dead attic --reason "its power supply burned"'
)
@_machine_argument
@click.option("--reason", type=TEXT, required=True, help="How you know it; kept with the jobs.")
@yes_option
@json_option
@pass_session
def dead(session: Session, machine: str, reason: str, yes: bool, as_json: bool) -> None:
    """Declare that a machine is dead and runs no process.

    Its jobs count as lost at once, and most of them run again on other machines. If the machine
    still runs them, they run twice.
    """
    client = session.client()
    found = client.get(machine_path(machine))
    jobs = "1 job" if found["leased"] == 1 else f"{found['leased']} jobs"
    confirm(f"{machine} has {jobs}, which may run again on other machines", yes)
    done = client.post(f"{machine_path(machine)}/dead", {"reason": reason})
    if as_json:
        terminal.print_json(done)
        return
    ids = ", ".join(map(str, done["jobs"]))
    terminal.print_line(f"{machine} is declared dead" + (f"; lost jobs: {ids}" if ids else ""))


machine = click.Group(
    "machine",
    commands=[
        show, edit, set_, allow, deny,
        machine_overrides.open_, machine_overrides.close, machine_overrides.hours,
        machine_control.drain, machine_control.pause, machine_control.resume,
        machine_joining.invite, machine_joining.approve, machine_joining.rename,
        machine_joining.revoke, dead,
    ],
    no_args_is_help=True,
    help="Add and remove machines; set what a machine may run, how much, and when.",
)  # fmt: skip
