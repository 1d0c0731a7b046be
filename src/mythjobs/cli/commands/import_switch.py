"""`mythjobs import takeover`, `undo` and `status`: who runs the imported entries."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Final

import click

from mythjobs import clock
from mythjobs.cli import terminal
from mythjobs.cli.commands.import_queue import ImportedEntries
from mythjobs.cli.session import Session, command, json_option, pass_session
from mythjobs.cli.terminal import Cell
from mythjobs.client.client import Json
from mythjobs.errors import BadRequest

if TYPE_CHECKING:
    from mythjobs.takeover.records import ImportRecord
    from mythjobs.takeover.switching import EntryStatus

# Who runs the entries that --all selects (`Runner`).
_NOT_TAKEN: Final = ("cron", "both", "neither")
_NOT_GIVEN_BACK: Final = ("queue", "both", "neither")
_TAKEOVER: Final = """Examples:
  mythjobs import takeover nightly-backup
  mythjobs import takeover --all"""
_UNDO: Final = """Examples:
  mythjobs import undo nightly-backup
  mythjobs import undo nightly-backup --diff"""
_names = click.argument("names", metavar="[ENTRY…]", nargs=-1)


@command("takeover", epilog=_TAKEOVER)
@_names
@click.option("--all", "is_all", is_flag=True, help="All imported entries that cron still runs.")
@json_option
@pass_session
def takeover(session: Session, names: tuple[str, ...], is_all: bool, as_json: bool) -> int:
    """Disable imported entries in cron or systemd, and let the queue run them.

    Repeat it after an interruption. A run that cron has started goes on.
    """
    entries = ImportedEntries(session.root, session.client())
    with entries.records.lock():
        records = _select(entries, names, is_all, _NOT_TAKEN)
        return _change(entries, records, _take, as_json)


def _take(entries: ImportedEntries, record: ImportRecord) -> str:
    from mythjobs.takeover.switching import Runner

    status = entries.find_status(record)
    if status.runner is Runner.QUEUE and not status.is_interrupted:
        return "was taken over already"
    if status.runner in (Runner.CRON, Runner.BOTH):
        _wait_between_minutes(record)
    now_ms = clock.master_now().wall_ms
    gap = _describe_gap(entries, status, now_ms)
    entries.switcher(record).take(record, now_ms)
    sentence = f"the queue runs it now{_format_next(entries, record)}{gap}"
    if record.timer and _has_spread(entries, record):
        sentence += (
            f"; a run that systemd had delayed is dropped (`mythjobs schedule run {record.name}`)"
        )
    return sentence


def _describe_gap(entries: ImportedEntries, status: EntryStatus, now_ms: int) -> str:
    """Return how many runs an interrupted command has prevented; "" if none."""
    from mythjobs.takeover.switching import Runner

    record = status.record
    if status.runner is not Runner.NEITHER or not status.has_schedule:
        return ""
    missed = entries.schedules.count_ticks(record.name, record.switched_ms, now_ms)
    since = time.strftime("%Y-%m-%d %H:%M", time.localtime(record.switched_ms / 1000))
    return (
        f"; {missed} of its runs fell into the interruption, see `mythjobs schedule backfill "
        f'{record.name} "{since}"`'
        if missed
        else ""
    )


def _wait_between_minutes(record: ImportRecord) -> None:
    """Wait until cron is between two minutes, so that it and the queue agree on the next one."""
    from mythjobs.takeover.switching import compute_wait_s

    if record.root == "/":
        time.sleep(compute_wait_s(clock.master_now().wall_ms))


def _format_next(entries: ImportedEntries, record: ImportRecord) -> str:
    found = entries.schedules.find(record.name)
    return f", next {found['next_local']}" if found and found["next_local"] else ""


def _has_spread(entries: ImportedEntries, record: ImportRecord) -> bool:
    return "spread" in entries.schedules.read_definition(record.name)


@command("undo", epilog=_UNDO)
@_names
@click.option("--all", "is_all", is_flag=True, help="All entries that were taken over.")
@click.option(
    "--keep-changes", is_flag=True, help="Also enable entries of files that were changed since."
)
@click.option("--diff", "is_diff", is_flag=True, help="Only show what was changed in the files.")
@json_option
@pass_session
def undo(
    session: Session,
    names: tuple[str, ...],
    is_all: bool,
    keep_changes: bool,
    is_diff: bool,
    as_json: bool,
) -> int:
    """Give entries back to cron or systemd, and hold their schedules.

    Files are restored byte for byte. If a file was changed since the takeover, its entries stay as
    they are, unless --keep-changes is given.
    """
    entries = ImportedEntries(session.root, session.client())
    with entries.records.lock():
        records = _select(entries, names, is_all, _NOT_GIVEN_BACK)
        if is_diff:
            for record in records:
                for line in entries.switcher(record).format_diff(record):
                    terminal.print_line(line)
            return 0

        def give_back(entries: ImportedEntries, record: ImportRecord) -> str:
            _wait_between_minutes(record)
            now_ms = clock.master_now().wall_ms
            gap = _describe_gap(entries, entries.find_status(record), now_ms)
            entries.switcher(record).undo(record, now_ms, keep_changes=keep_changes)
            return f"{_name_runner(record)} runs it again; its schedule is held{gap}"

        return _change(entries, records, give_back, as_json)


def _name_runner(record: ImportRecord) -> str:
    return "systemd" if record.place.kind.endswith("timer") else "cron"


def _select(
    entries: ImportedEntries, names: Sequence[str], is_all: bool, wanted: Collection[str]
) -> list[ImportRecord]:
    """Return the named entries, or all that one of `wanted` runs. Raises BadRequest, UsageError."""
    if bool(names) == is_all:
        raise click.UsageError("name entries (`mythjobs import status` lists them), or give --all")
    by_name = {each.name: each for each in entries.records.entries.values()}
    for name in names:
        if name not in by_name:
            raise BadRequest(
                f'no imported entry has the name "{name}"; `mythjobs import status` lists them'
            )
    if not is_all:
        return [by_name[name] for name in dict.fromkeys(names)]
    return [each for each in by_name.values() if entries.find_status(each).runner in wanted]


def _change(
    entries: ImportedEntries,
    records: Sequence[ImportRecord],
    change: Callable[[ImportedEntries, ImportRecord], str],
    as_json: bool,
) -> int:
    """Change entries one after the other; an error of one does not keep the others from it.

    Returns the exit code: 0, or that of the first error.
    """
    code, results = 0, []
    if not records and not as_json:
        terminal.print_message("no entry has to be changed")
    for record in records:
        try:
            sentence, is_done = change(entries, record), True
        except BadRequest as error:
            sentence, is_done = error.sentence, False
            code = code or error.exit_code
        results.append({"name": record.name, "done": is_done, "message": sentence})
        if not as_json and is_done:
            terminal.print_line_now(f"{record.name}: {sentence}")
        elif not as_json:
            terminal.print_message(f"{record.name}: {sentence}")
    if as_json:
        terminal.print_json(results)
    return code


@command("status")
@json_option
@pass_session
def status(session: Session, as_json: bool) -> None:
    """List the imported entries, and who runs each of them now."""
    entries = ImportedEntries(session.root, session.client())
    found = entries.list_statuses()
    if as_json:
        terminal.print_json([_to_json(each) for each in found])
        return
    rows = [
        (
            each.record.name,
            _format_runner(each),
            each.record.written,
            each.record.user,
            each.record.place.describe(),
            describe_status(each),
        )
        for each in found
    ]
    terminal.print_table(("name", "run by", "when", "user", "from", "note"), rows)


def _format_runner(found: EntryStatus) -> Cell:
    from mythjobs.takeover.switching import Runner

    match found.runner:
        case Runner.CRON:
            return Cell(_name_runner(found.record))
        case Runner.QUEUE:
            return Cell("mythjobs", "succeeded")
        case Runner.BOTH:
            return Cell(f"{_name_runner(found.record)} and mythjobs", "failed")
        case Runner.UNKNOWN:
            return Cell("unknown", "failed")
        case _:
            return Cell("nobody", "failed")


def describe_status(found: EntryStatus) -> str:
    """Return what to know or to do about an entry; "" if all is well."""
    from mythjobs.takeover.records import TAKEN
    from mythjobs.takeover.switching import HoldState, Runner

    if found.problem:
        return found.problem
    name, where = found.record.name, found.record.place.describe()
    takeover, undo = f"`mythjobs import takeover {name}`", f"`mythjobs import undo {name}`"
    if not found.has_schedule:
        hint = f"; {undo} enables it in {where}" if found.runner is Runner.NEITHER else ""
        return f"its schedule was removed{hint}"
    if found.runner is Runner.GONE:
        return f"it is not in {where} any more; if it was changed, import it again"
    if not found.is_interrupted:
        return "" if found.schedule is HoldState.RUNNING else f"its schedule is {found.schedule}"
    if found.runner is Runner.BOTH:
        return f"{where} or the schedule was changed; {takeover} or {undo} ends that"
    if found.record.wanted == TAKEN:
        return f"its takeover was interrupted; {takeover} ends it, {undo} reverses it"
    return f"its undo was interrupted; {undo} ends it, {takeover} reverses it"


def _to_json(found: EntryStatus) -> Json:
    record = found.record
    return {
        "id": record.place.id,
        "name": record.name,
        "run_by": _name_runner(record) if found.runner == "cron" else found.runner.value,
        "wanted": record.wanted,
        "interrupted": found.is_interrupted,
        "schedule": found.schedule,
        "kind": record.place.kind,
        "from": record.place.describe(),
        "root": record.root,
        "line": record.place.line,
        "when": record.written,
        "user": record.user,
        "runs": record.text,
        "imported_ms": record.imported_ms,
        "note": describe_status(found),
    }
