"""`mythjobs mythtv import`: make commands, machine settings and rules of MythTV's set-up."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

import click

from mythjobs.cli import terminal
from mythjobs.cli.commands.mythtv import (
    database_options,
    find_bridge_settings,
    open_database,
)
from mythjobs.cli.options import PARAMETER, Pairs, refuse_duplicates
from mythjobs.cli.session import Session, command, json_option, pass_session

if TYPE_CHECKING:
    from mythjobs.mythtv.importer.installation import MythInstallation
    from mythjobs.mythtv.importer.plan import ImportPlan
    from mythjobs.mythtv.importer.steps import ImportStep

_EXAMPLES: Final = """Examples:
  mythjobs mythtv import                          show what would be made
  mythjobs mythtv import --apply
  mythjobs mythtv import --config /home/mythtv/.mythtv/config.xml
  mythjobs mythtv import --machine mythbox=attic --apply"""
_HEADINGS: Final = {
    "command": "Commands",
    "machine": "Machines",
    "schedule": "Schedules (paused)",
    "rules": "Rules of the bridge",
    "bridge": "Bridge",
}


@command("import", epilog=_EXAMPLES)
@database_options
@click.option("--apply", "is_applied", is_flag=True, help="Make what is shown.")
@click.option(
    "--machine", "machines", multiple=True, type=PARAMETER, callback=refuse_duplicates,
    metavar="HOST=NAME", help="The machine of a MythTV host, if their names differ. Repeatable.",
)  # fmt: skip
@click.option("--replace", is_flag=True, help="Replace commands that were changed in mythjobs.")
@json_option
@pass_session
def import_(
    session: Session,
    config: str,
    database: str,
    is_applied: bool,
    machines: Pairs,
    replace: bool,
    as_json: bool,
) -> int:
    """Read MythTV's jobs, profiles, rules and hosts, and make commands and settings of them.

    They are read from the database that the options name, else from the backend of `mythjobs mythtv
    setup` (its database, or its Services API), else from the database of MythTV's config.xml.
    Nothing is changed without --apply. A second import changes nothing, unless MythTV's settings
    have changed. What cannot be translated is listed with the reason. MythTV is not changed.
    """
    from mythjobs.mythtv.bridge.takeover import load_takeover
    from mythjobs.mythtv.importer.installation import with_previous_limits
    from mythjobs.mythtv.importer.plan import plan_import
    from mythjobs.mythtv.importer.steps import compare_plan
    from mythjobs.mythtv.settings import bridge_dir

    # The bridge's files are in the state directory of the master on this machine.
    is_local = session.state_dir is not None or "MYTHJOBS_URL" not in os.environ
    directory = bridge_dir(session.root) if is_local else None
    found = _read_mythtv(session, config, database, is_local)
    if directory is not None:
        found = with_previous_limits(found, load_takeover(directory).hosts)
    plan = plan_import(found)
    unknown = sorted({host for host, _ in machines} - set(found.hosts))
    if unknown:
        raise click.BadParameter(
            f'MythTV has no host "{unknown[0]}"; it has {", ".join(found.hosts) or "none"}',
            param_hint="--machine",
        )
    steps = compare_plan(plan, session.client(), directory, dict(machines), is_replacing=replace)
    if is_applied:
        for step in steps:
            if step.perform is not None:
                step.perform()
    if as_json:
        terminal.print_json(_describe(plan, steps, found.source, is_applied))
    else:
        schema = f", schema {found.schema}" if found.schema else " (Services API)"
        _print_report(plan, steps, f"{found.source}{schema}", is_applied)
    return 0


def _read_mythtv(session: Session, config: str, database: str, is_local: bool) -> MythInstallation:
    """Read the installation: from the database that is named, else that of the bridge, else the
    Services API of the bridge's backend, else the database of MythTV's config.xml."""
    from mythjobs.mythtv.database.address import ENVIRONMENT, parse_url
    from mythjobs.mythtv.database.connection import MythDatabase
    from mythjobs.mythtv.importer.installation import (
        read_installation,
        read_installation_from_services,
    )

    settings = None
    if is_local and not (config or database or os.environ.get(ENVIRONMENT)):
        settings = find_bridge_settings(session.root)
    if settings is None:
        with open_database(config, database) as opened:
            return read_installation(opened)
    if settings.database:
        with MythDatabase(parse_url(settings.database, "the bridge's settings.toml")) as opened:
            return read_installation(opened)
    from mythjobs.mythtv.services.client import open_services

    with open_services(settings) as services:
        return read_installation_from_services(services, f"{settings.host}:{settings.status_port}")


def _describe(plan: ImportPlan, steps: list[ImportStep], source: str, done: bool) -> Any:
    from mythjobs.mythtv.rules import describe_rule

    return {
        "source": source,
        "applied": done,
        "steps": [
            {"kind": each.kind, "name": each.name, "action": each.action, "why": each.why}
            for each in steps
            if each.kind in _HEADINGS
        ],
        "definitions": [each.table for each in plan.definitions],
        "commands": dict(plan.commands),
        "rules": [describe_rule(each) for each in plan.rules],
        "schedules": plan.schedules,
        "notes": [
            {"item": each.item, "sentence": each.sentence, "lost": each.lost} for each in plan.notes
        ],
    }


def _print_report(plan: ImportPlan, steps: list[ImportStep], source: str, done: bool) -> None:
    terminal.print_line(f"MythTV: {source}")
    summaries = {each.table["name"]: each.table.get("summary", "") for each in plan.definitions}
    for kind, heading in _HEADINGS.items():
        found = [each for each in steps if each.kind == kind]
        if not found:
            continue
        terminal.print_line()
        terminal.print_line(heading)
        for each in found:
            text = each.why or (summaries.get(each.name, "") if kind == "command" else "")
            name = "" if kind in ("rules", "bridge") and each.action == "missing" else each.name
            line = "  ".join(filter(None, (f"{_past(each.action, done):<10}", name, text)))
            terminal.print_line(f"  {line}".rstrip())
        if kind == "rules":
            for rule in plan.rules:
                numbers = ", ".join(map(str, rule.recording_rules))
                terminal.print_line(f"             {rule.command} for recording rules {numbers}")
    for heading, lost in (("Not imported", True), ("To know", False)):
        notes = [each for each in plan.notes if each.lost == lost]
        if notes:
            terminal.print_line()
            terminal.print_line(heading)
            # What is true of several items is said once.
            for sentence in dict.fromkeys(each.sentence for each in notes):
                items = ", ".join(each.item for each in notes if each.sentence == sentence)
                terminal.print_line(f"  {items}: {sentence}")
    terminal.print_line()
    count = sum(each.action in ("add", "change") for each in steps)
    if done:
        terminal.print_line(f"{count} changes made" if count else "nothing to change")
    elif count:
        terminal.print_line(f"{count} changes to make; repeat the command with --apply")
    else:
        terminal.print_line("nothing to change")


def _past(action: str, done: bool) -> str:
    past = {"add": "added", "change": "changed", "keep": "kept"}
    return past.get(action, action) if done else action
