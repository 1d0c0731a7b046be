"""Selection of jobs by ids or a filter, and actions on them, for the commands that act on jobs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import click

from mythjobs.cli import terminal
from mythjobs.cli.options import COMMAND, JOB_RANGE, STATES, TEXT, IntegerType, join_ranges
from mythjobs.cli.session import Session, json_option, yes_option
from mythjobs.cli.terminal import confirm
from mythjobs.client.client import Client, Json
from mythjobs.errors import BadRequest
from mythjobs.model.life import JobState

_EXIT_REFUSED: Final = 2
# Most ranges of ids of new jobs that are printed; the JSON output has all.
_MAX_SHOWN_RANGES: Final = 10
LIVE: Final = ("leased", "running")
OPEN: Final = ("queued", *LIVE)
_LABELS: Final = {"queued": "queued", "leased": "starting"}


class JobAction(NamedTuple):
    """An action on jobs, the job states in which it applies, and the states that a filter without
    --state selects. fields: of the request. phrase: for the confirmation, if not `name`."""

    name: str
    past: str
    states: tuple[str, ...]
    default_states: tuple[str, ...] = ()
    fields: Json = {}  # noqa: RUF012
    phrase: str = ""


class JobSelection(NamedTuple):
    """The jobs that a command line selects: ids, or a filter."""

    jobs: tuple[int, ...]
    command: str | None
    states: tuple[str, ...]
    batch: int | None
    subject: str | None
    lost: bool = False
    since_ms: int | None = None

    @property
    def by_filter(self) -> bool:
        by_text = self.command or self.states or self.subject is not None
        return bool(by_text or self.batch or self.lost or self.since_ms is not None)


def selection_options(
    function: Callable[..., Any], subject_help: str = "Jobs with this subject."
) -> Callable[..., Any]:
    """Add the options that select jobs."""
    for option in (
        json_option,
        yes_option,
        click.option("--subject", type=TEXT, help=subject_help),
        click.option("--batch", type=IntegerType(min=1), metavar="ID", help="Jobs of a batch."),
        click.option("--state", "states", type=STATES, default=(), metavar="STATE[,STATE…]",
                     help="Jobs in these states."),
        click.option("--command", type=COMMAND, metavar="COMMAND", help="Jobs of this command."),
        click.argument(
            "jobs", metavar="[JOB…]", type=JOB_RANGE, nargs=-1, callback=join_ranges
        ),
    ):  # fmt: skip
        function = option(function)
    return function


def apply_action(
    session: Session, action: JobAction, selection: JobSelection, yes: bool, as_json: bool
) -> int:
    if bool(selection.jobs) == selection.by_filter:
        raise click.UsageError(
            "give job ids, or a filter: --command, --state, --batch, --subject",
            click.get_current_context(),
        )
    if selection.jobs:
        return _apply_to_ids(session.client(), action, selection.jobs, as_json)
    for each in selection.states:
        if each not in action.states:
            name, allowed = action.phrase or action.name, " or ".join(action.states)
            raise BadRequest(f"{name} does not apply to {each} jobs, only to {allowed}")
    return _apply_to_filter(session.client(), action, selection, yes, as_json)


def _apply_to_ids(client: Client, action: JobAction, ids: tuple[int, ...], as_json: bool) -> int:
    """Apply the action to jobs by id. Return exit code 2 if it was refused for one, else 0."""
    results: list[dict[str, Any]] = client.post(
        f"jobs/{action.name}", {"ids": list(ids), **action.fields}
    )["jobs"]
    if as_json:
        terminal.print_json(results)
    for each in results:
        if each["error"]:
            terminal.print_message(each["error"])
        elif not as_json and action.name == "rerun":
            terminal.print_line(_describe_rerun(each))
        elif not as_json:
            terminal.print_line(f"job {each['id']} {each['done']}")
    return _EXIT_REFUSED if any(each["error"] for each in results) else 0


def _describe_rerun(result: Json) -> str:
    if not result.get("changed", True):
        return f"job {result['done']} has this key already; job {result['id']} did not run again"
    return f"job {result['done']} is a rerun of job {result['id']}"


def _apply_to_filter(
    client: Client, action: JobAction, selection: JobSelection, yes: bool, as_json: bool
) -> int:
    """Apply the action to all jobs of the filter, after confirmation of their number."""
    filters: Json = {
        "command": selection.command,
        "batch": selection.batch,
        "subject": selection.subject,
    }
    if selection.lost:
        filters["lost"] = True
    if selection.since_ms is not None:
        filters["since_ms"] = selection.since_ms
    states = selection.states or action.default_states or action.states
    held = True if action.name == "release" else None
    counts = client.get("jobs/count", {**filters, "held": held})["counts"]
    selected = {
        str(state): counts[state] for state in JobState if state in states and counts[state]
    }
    if selected:
        confirm(_format_question(action, counts, selected), yes)
        body = {"act": action.name, "states": list(states), **filters, **action.fields}
        # No timeout: a million jobs take minutes.
        done = client.post("jobs/all", body, timeout_s=None)
    else:
        if selection.batch is not None:
            client.get(f"batches/{selection.batch}")  # raises if there is no such batch
        done = {
            "act": action.name,
            "done": 0,
            "unchanged": 0,
            "refused": 0,
            "errors": [],
            "new_ids": [],
        }
    if as_json:
        terminal.print_json(done)
    else:
        jobs = "1 job" if done["done"] == 1 else f"{done['done'] or 'no'} jobs"
        new = _format_new_ids(done.get("new_ids", []))
        terminal.print_line(f"{jobs} {action.past}{new}")
        if unchanged := done.get("unchanged", 0):  # a master of an older version does not send it
            was = "1 job was" if unchanged == 1 else f"{unchanged} jobs were"
            terminal.print_line(f"{was} so already")
    for each in done["errors"]:
        terminal.print_message(each)
    if done["refused"] > len(done["errors"]):
        terminal.print_message(f"refused for {done['refused'] - len(done['errors'])} more jobs")
    return _EXIT_REFUSED if done["refused"] else 0


def _format_new_ids(ranges: list[list[int]]) -> str:
    """Return the ids of the new jobs, as `wait` takes them: `: 15-17,20`."""
    if not ranges:
        return ""
    shown = ranges[:_MAX_SHOWN_RANGES]
    text = ",".join(f"{first}-{last}" if first != last else f"{first}" for first, last in shown)
    more = sum(last - first + 1 for first, last in ranges[_MAX_SHOWN_RANGES:])
    return f": {text} and {more} more" if more else f": {text}"


def _format_question(action: JobAction, counts: Json, selected: dict[str, int]) -> str:
    """Return the text to confirm: `cancel 312 queued jobs (not 4 running)`."""
    kept = {each: counts[each] for each in OPEN if counts[each] and each not in selected}
    jobs = "job" if sum(selected.values()) == 1 else "jobs"
    text = f"{action.phrase or action.name} {_format_counts(selected)} {jobs}"
    return f"{text} (not {_format_counts(kept)})" if kept else text


def _format_counts(counts: dict[str, int]) -> str:
    return " and ".join(f"{count} {_LABELS.get(state, state)}" for state, count in counts.items())
