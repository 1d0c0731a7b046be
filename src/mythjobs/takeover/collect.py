"""Plans of a whole machine: all crontabs, or all timers, with names that differ."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterable, Mapping
from pathlib import Path

from mythjobs.errors import BadRequest, DefinitionError
from mythjobs.model.contradictions import new_command_from_table, new_schedule_from_table
from mythjobs.scheduler.ticks import check_when
from mythjobs.takeover.cron.anacron_plan import plan_anacrontab
from mythjobs.takeover.cron.cron_files import CronFiles
from mythjobs.takeover.cron.cron_plan import plan_crontab
from mythjobs.takeover.cron.run_parts import find_directory, find_ignored
from mythjobs.takeover.entry import Account, ImportFacts, ImportMark, Place, PlanEntry
from mythjobs.takeover.machine_root import MachineRoot
from mythjobs.takeover.naming import ImportedNames, choose_names
from mythjobs.takeover.systemd.timer_plan import plan_timer
from mythjobs.takeover.systemd.unit_tree import TimerUnits

_MAILERS = ("/usr/sbin/sendmail", "/usr/bin/sendmail", "/usr/lib/sendmail")


def find_runner(state_dir: Path) -> str:
    """Return the user that runs the jobs: the owner of the state directory.

    Raises BadRequest if the owner has no name on this machine.
    """
    try:
        uid = state_dir.stat().st_uid
    except FileNotFoundError:
        uid = os.geteuid()
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        raise BadRequest(f"the user {uid} has no name on this machine; add it first") from None


def collect_facts(root: MachineRoot, *, machine: str, runner: str, this_year: int) -> ImportFacts:
    return ImportFacts(
        machine=machine,
        zone=root.read_zone(),
        runner=runner,
        accounts=root.read_accounts(),
        environment=root.read_login_environment(),
        has_mailer=any(root.exists(each) for each in _MAILERS),
        is_cronie=CronFiles(root).is_cronie(),
        exists=root.exists,
        this_year=this_year,
    )


def plan_cron(root: MachineRoot, facts: ImportFacts, names: ImportedNames) -> list[PlanEntry]:
    """Return the entries of all crontabs of a machine, and of its anacrontab."""
    files = CronFiles(root)
    entries = []
    for crontab in files.read_crontabs():
        for entry in plan_crontab(crontab, facts):
            entries += [entry, *_list_directory(entry, files, facts)]
    anacron = files.read_anacron()
    if anacron is not None:
        for entry in plan_anacrontab(anacron, facts):
            entries += [entry, *_list_directory(entry, files, facts)]
    return _finish(entries, root, names)


def plan_timers(
    root: MachineRoot, facts: ImportFacts, names: ImportedNames, *, is_user_manager: bool
) -> list[PlanEntry]:
    """Return an entry for each enabled timer of the system, or of the user's own manager."""
    account = find_manager_account(facts.accounts, is_user_manager=is_user_manager)
    units = TimerUnits(root, account, is_user_manager=is_user_manager)
    return _finish([plan_timer(each, facts) for each in units.read_timers()], root, names)


def find_manager_account(accounts: Mapping[str, Account], *, is_user_manager: bool) -> Account:
    """Return the account of the manager: root, or the caller."""
    name = pwd.getpwuid(os.geteuid()).pw_name if is_user_manager else "root"
    return accounts.get(name) or Account(name, name, os.path.expanduser("~"))


def _list_directory(entry: PlanEntry, files: CronFiles, facts: ImportFacts) -> Iterable[PlanEntry]:
    """Yield the files that an entry runs with run-parts; each is part of that entry."""
    directory = find_directory(entry.text)
    if not directory or not entry.is_imported:
        return
    found = files.read_directory(directory)
    ignored = find_ignored(found, is_cronie=facts.is_cronie)
    for each in found:
        reason = ignored.get(each.name) or f"runs as part of line {entry.number}"
        path = f"{directory}/{each.name}"
        yield PlanEntry(
            Place("part", path), 0, entry.written, path, entry.user, ImportMark.SKIPPED, (reason,)
        )


def _finish(
    entries: Iterable[PlanEntry], root: MachineRoot, names: ImportedNames
) -> list[PlanEntry]:
    permitted = [_check_rights(each, root) for each in entries]
    return [_check(each) for each in choose_names(permitted, names)]


def _check_rights(entry: PlanEntry, root: MachineRoot) -> PlanEntry:
    """Return the entry, with a reason instead of definitions if it cannot be taken over."""
    is_of_system = entry.place.kind in ("file", "timer")
    if entry.is_imported and is_of_system and root.is_live and os.geteuid() != 0:
        return entry.skipped(
            f"only root can disable it in {entry.place.describe()}; import it into root's queue",
            ImportMark.DECIDE,
        )
    return entry


def _check(entry: PlanEntry) -> PlanEntry:
    """Return the entry, with a reason instead of definitions that the queue would refuse."""
    if entry.command is None or entry.schedule is None:
        return entry
    try:
        new_command_from_table(entry.command)
        check_when(new_schedule_from_table(entry.schedule))
    except DefinitionError as error:
        return entry.skipped(str(error), ImportMark.DECIDE)
    return entry
