"""`mythjobs import`: move entries of cron and systemd timers into the queue."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from mythjobs import clock
from mythjobs.cli import terminal
from mythjobs.cli.commands import import_switch
from mythjobs.cli.commands.import_queue import ImportedEntries
from mythjobs.cli.options import MACHINE
from mythjobs.cli.session import Session, command, json_option, pass_session
from mythjobs.client.client import Client, Json
from mythjobs.errors import BadRequest, Unreachable
from mythjobs.model.zone import to_local

if TYPE_CHECKING:
    from mythjobs.takeover.entry import PlanEntry

_EPILOG: Final = """Marks:
  ✓ imported exactly   ~ imported with a difference   ! needs your decision   – skipped

Examples:
  mythjobs import {command}
  mythjobs import {command} --apply
  mythjobs import takeover --all"""


def _plan_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of both plans."""
    for option in (
        json_option,
        click.option("--machine", type=MACHINE, metavar="NAME",
                     help="Name of this machine in the queue."),
        click.option("--root", default="/", metavar="DIR",
                     help="Read the files below DIR instead of /."),
        click.option("--apply", "is_applied", is_flag=True,
                     help="Import the entries with ✓ and ~; cron or systemd still runs them."),
        click.argument("names", metavar="[ENTRY…]", nargs=-1),
    ):  # fmt: skip
        function = option(function)
    return function


@command("cron", epilog=_EPILOG.format(command="cron"))
@_plan_options
@pass_session
def cron(
    session: Session,
    names: tuple[str, ...],
    is_applied: bool,
    root: str,
    machine: str | None,
    as_json: bool,
) -> None:
    """Show what becomes of the entries of cron and anacron; with --apply, import them.

    Nothing is changed without --apply. With it, each entry becomes a command and a schedule. The
    schedule is held until `mythjobs import takeover` disables the entry in cron.
    """
    from mythjobs.takeover import collect

    source = ImportSource(session, root, machine)
    plan = collect.plan_cron(source.root, source.facts, source.names)
    _finish(source, plan, names, is_applied, as_json)


@command("timers", epilog=_EPILOG.format(command="timers"))
@click.option("--user", "is_user", is_flag=True, help="The timers of `systemctl --user`.")
@_plan_options
@pass_session
def timers(
    session: Session,
    names: tuple[str, ...],
    is_user: bool,
    is_applied: bool,
    root: str,
    machine: str | None,
    as_json: bool,
) -> None:
    """Show what becomes of the enabled timers of systemd; with --apply, import them.

    Nothing is changed without --apply. With it, each timer becomes a command and a schedule. The
    schedule is held until `mythjobs import takeover` disables the timer.
    """
    from mythjobs.takeover import collect

    source = ImportSource(session, root, machine)
    plan = collect.plan_timers(source.root, source.facts, source.names, is_user_manager=is_user)
    _finish(source, plan, names, is_applied, as_json)


class ImportSource:
    """What a plan is made from: files of a machine, facts about it, and names in the queue.

    entries: None while no master can be reached; no_master says why.
    """

    def __init__(self, session: Session, directory: str, machine: str | None) -> None:
        from mythjobs.takeover import collect
        from mythjobs.takeover.machine_root import MachineRoot

        self.root = MachineRoot(directory)
        self.entries: ImportedEntries | None = None
        self.no_master = ""
        host = socket.gethostname()
        try:
            client = session.client()
            machine = machine or _find_machine(client, host)
            self.entries = ImportedEntries(session.root, client)
            self.names = self.entries.read_names(self.root)
        except Unreachable as error:
            self.no_master = error.sentence
            from mythjobs.takeover.naming import ImportedNames

            self.names = ImportedNames()
        self.facts = collect.collect_facts(
            self.root,
            machine=machine or host,
            runner=collect.find_runner(Path(session.root)),
            this_year=to_local(clock.master_now().wall_ms, self.root.read_zone()).year,
        )


def _find_machine(client: Client, host: str) -> str:
    """Return the name of this machine in the queue. Raises BadRequest if it is unknown."""
    names = [str(each["name"]) for each in client.get("machines")["machines"]]
    if len(names) == 1:
        return names[0]
    for each in (host, host.partition(".")[0]):
        if each in names:
            return each
    raise BadRequest(
        f"no machine of the queue has the name {host}; name this one with --machine "
        f"({', '.join(names) or 'none has joined'})"
    )


def _finish(
    source: ImportSource,
    plan: list[PlanEntry],
    names: tuple[str, ...],
    is_applied: bool,
    as_json: bool,
) -> None:
    """Print a plan, or import its entries; all of them, or those with these names."""
    for name in names:
        if name not in {each.name for each in plan}:
            raise BadRequest(
                f'no entry of the plan has the name "{name}"; omit names to list all entries'
            )
    if names:
        plan = [each for each in plan if each.name in names]
    if is_applied:
        if source.entries is None:
            raise Unreachable(source.no_master)
        source.entries.add(source.root, [each for each in plan if each.is_imported])
    if as_json:
        terminal.print_json([_to_json(each) for each in plan])
        return
    if not plan:
        terminal.print_message("no entries were found")
        return
    _print_plan(plan)
    counts = Counter(each.mark for each in plan)
    summary = ", ".join(f"{count} {mark.sign}" for mark, count in counts.items())
    imported = sum(each.is_imported for each in plan)
    if not is_applied:
        hint = "; --apply imports those with ✓ and ~" if imported else ""
        terminal.print_message(f"{len(plan)} entries: {summary}; nothing was changed{hint}")
    elif not imported:
        terminal.print_message("no entry was imported; `mythjobs import status` lists earlier ones")
    else:
        terminal.print_message(
            f"{imported} of {len(plan)} entries were imported; their schedules are held until "
            "`mythjobs import takeover`"
        )
        assert source.entries is not None
        for advice in _advise_mail(plan, source.entries.list_notified_commands()):
            terminal.print_message(advice)


def _advise_mail(plan: list[PlanEntry], notified: Collection[str] | None) -> Iterator[str]:
    """Yield how to get mail about imported entries whose output cron mailed, one for each address.

    notified: the commands whose failures are sent to a channel; None: all commands.
    """
    if notified is None:
        return
    names: dict[str, list[str]] = {}
    for each in plan:
        if each.is_imported and each.mail_to and each.name not in notified:
            names.setdefault(each.mail_to, []).append(each.name)
    for address, found in names.items():
        commands = " ".join(f"--command {name}" for name in found)
        yield (
            f"cron mailed the output of {len(found)} of them to {address}; for mail if one fails: "
            f"mythjobs notify add NAME mailto://USER:PASSWORD@SERVER?to={address} {commands}"
        )


def _print_plan(plan: list[PlanEntry]) -> None:
    rows = [
        (
            each.mark.sign,
            each.name,
            each.written,
            each.user,
            each.text,
            f"{each.place.describe()}:{each.number}" if each.number else each.place.describe(),
            "; ".join(each.reasons),
        )
        for each in plan
    ]
    terminal.print_table(("", "name", "when", "user", "runs", "from", "reason"), rows)


def _to_json(entry: PlanEntry) -> Json:
    return {
        "id": entry.place.id,
        "mark": entry.mark.value,
        "reasons": list(entry.reasons),
        "name": entry.name,
        "kind": entry.place.kind,
        "from": entry.place.describe(),
        "line": entry.number or None,
        "when": entry.written,
        "user": entry.user,
        "runs": entry.text,
        "mail_to": entry.mail_to or None,
        "command": entry.command,
        "schedule": entry.schedule,
    }


import_group = click.Group(
    "import",
    commands=[
        cron,
        timers,
        import_switch.takeover,
        import_switch.undo,
        import_switch.status,
    ],
    no_args_is_help=True,
    help="Import entries of cron and systemd timers, and take them over.",
)
