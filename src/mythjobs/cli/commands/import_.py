"""`mythjobs import`: move entries of cron and systemd timers into the queue."""

from __future__ import annotations

import socket
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from mythjobs import clock
from mythjobs.cli import terminal
from mythjobs.cli.options import MACHINE
from mythjobs.cli.session import Session, command, json_option, pass_session
from mythjobs.client.client import Json
from mythjobs.errors import BadRequest, Unreachable
from mythjobs.model.zone import to_local

if TYPE_CHECKING:
    from mythjobs.takeover.entry import ImportFacts, PlanEntry
    from mythjobs.takeover.machine_root import MachineRoot

_CRON: Final = """Marks:
  ✓ imported exactly   ~ imported with a difference   ! needs your decision   – skipped"""
root_option = click.option(
    "--root", "root", default="/", metavar="DIR", help="Read the files below DIR instead of /."
)
machine_option = click.option(
    "--machine", type=MACHINE, metavar="NAME", help="Name of this machine in the queue."
)


@command("cron", epilog=_CRON)
@root_option
@machine_option
@json_option
@pass_session
def cron(session: Session, root: str, machine: str | None, as_json: bool) -> None:
    """Show what becomes of the entries of cron and anacron. Nothing is changed."""
    from mythjobs.takeover import collect
    from mythjobs.takeover.machine_root import MachineRoot

    files = MachineRoot(root)
    plan = collect.plan_cron(files, _collect_facts(session, files, machine), ())
    _print_plan(plan, as_json)


@command("timers", epilog=_CRON)
@click.option("--user", "is_user", is_flag=True, help="The timers of `systemctl --user`.")
@root_option
@machine_option
@json_option
@pass_session
def timers(session: Session, is_user: bool, root: str, machine: str | None, as_json: bool) -> None:
    """Show what becomes of the enabled timers of systemd. Nothing is changed."""
    from mythjobs.takeover import collect
    from mythjobs.takeover.machine_root import MachineRoot

    files = MachineRoot(root)
    facts = _collect_facts(session, files, machine)
    _print_plan(collect.plan_timers(files, facts, (), is_user_manager=is_user), as_json)


def _collect_facts(session: Session, root: MachineRoot, machine: str | None) -> ImportFacts:
    from mythjobs.takeover import collect

    state_dir = Path(session.root)
    zone = root.read_zone()
    return collect.collect_facts(
        root,
        machine=machine or _find_machine(session),
        runner=collect.find_runner(state_dir),
        this_year=to_local(clock.master_now().wall_ms, zone).year,
    )


def _find_machine(session: Session) -> str:
    """Return the name of this machine in the queue. Raises BadRequest if it is unknown."""
    host = socket.gethostname()
    try:
        names = [each["name"] for each in session.client().get("machines")["machines"]]
    except Unreachable:
        return host
    if len(names) == 1:
        return str(names[0])
    for each in (host, host.partition(".")[0]):
        if each in names:
            return each
    raise BadRequest(
        f"no machine of the queue has the name {host}; name this one with --machine "
        f"({', '.join(names) or 'none has joined'})"
    )


def _print_plan(plan: list[PlanEntry], as_json: bool) -> None:
    if as_json:
        terminal.print_json([_to_json(each) for each in plan])
        return
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
    marks = Counter(each.mark for each in plan)
    counts = ", ".join(
        f"{marks[mark]} {mark.sign}" for mark in sorted(marks, key=list(marks).index)
    )
    terminal.print_message(f"{len(plan)} entries: {counts}; nothing was changed")


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
        "command": entry.command,
        "schedule": entry.schedule,
    }


import_group = click.Group(
    "import",
    commands=[cron, timers],
    no_args_is_help=True,
    help="Move in from cron and systemd timers.",
)
