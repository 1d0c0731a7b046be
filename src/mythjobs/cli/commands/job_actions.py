"""`mythjobs cancel`, `hold`, `release`, `set`, `rerun`, …: actions on existing jobs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import click

from mythjobs.cli import terminal
from mythjobs.cli.options import COMMAND, JOB_RANGE, STATES, TEXT, join_ranges
from mythjobs.cli.session import Session, command, json_option, pass_session, yes_option
from mythjobs.cli.terminal import confirm
from mythjobs.client.client import Client, Json
from mythjobs.errors import BadRequest
from mythjobs.model.life import FINAL, JobState

_EXIT_REFUSED: Final = 2
_LIVE: Final = ("leased", "running")
_OPEN: Final = ("queued", *_LIVE)
_LABELS: Final = {"queued": "queued", "leased": "starting"}


class _JobAction(NamedTuple):
    """An action on jobs, the job states in which it applies, and the states that a filter without
    --state selects. fields: of the request. phrase: for the confirmation, if not `name`."""

    name: str
    past: str
    states: tuple[str, ...]
    default_states: tuple[str, ...] = ()
    fields: Json = {}  # noqa: RUF012
    phrase: str = ""


_CANCEL: Final = _JobAction("cancel", "cancelled or being cancelled", _OPEN)
_HOLD: Final = _JobAction("hold", "held", ("queued",))
_RELEASE: Final = _JobAction("release", "released", ("queued",))
_RERUN: Final = _JobAction("rerun", "submitted again", tuple(sorted(FINAL)), ("failed",))
_PAUSE: Final = _JobAction("pause", "pausing", _LIVE)
_RESUME: Final = _JobAction("resume", "resuming", _LIVE)


class _JobSelection(NamedTuple):
    """The jobs that a command line selects: ids, or a filter."""

    jobs: tuple[int, ...]
    command: str | None
    states: tuple[str, ...]
    batch: int | None
    subject: str | None
    lost: bool = False

    @property
    def by_filter(self) -> bool:
        by_text = self.command or self.states or self.subject is not None
        return bool(by_text or self.batch or self.lost)


def _selection_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that select jobs."""
    for option in (
        json_option,
        yes_option,
        click.option("--subject", type=TEXT, help="Jobs with this subject."),
        click.option("--batch", type=click.IntRange(min=1), metavar="ID", help="Jobs of a batch."),
        click.option("--state", "states", type=STATES, default=(), metavar="STATE[,STATE…]",
                     help="Jobs in these states."),
        click.option("--command", type=COMMAND, metavar="COMMAND", help="Jobs of this command."),
        click.argument(
            "jobs", metavar="[JOB…]", type=JOB_RANGE, nargs=-1, callback=join_ranges
        ),
    ):  # fmt: skip
        function = option(function)
    return function


@command(
    "cancel",
    epilog="Examples:\n  mythjobs cancel 42 50-60\n"
    "  mythjobs cancel --command transcode-h264 --state queued\n  mythjobs cancel --batch 7 --yes",
)
@_selection_options
@pass_session
def cancel(session: Session, /, as_json: bool, yes: bool, **selection: Any) -> int:
    """Cancel jobs. Running jobs get SIGTERM, and SIGKILL after the grace period."""
    return _apply(session, _CANCEL, _JobSelection(**selection), yes, as_json)


@command("hold", epilog="Example:\n  mythjobs hold --command transcode-h264")
@_selection_options
@pass_session
def hold(session: Session, /, as_json: bool, yes: bool, **selection: Any) -> int:
    """Hold queued jobs until they are released. Running jobs continue."""
    return _apply(session, _HOLD, _JobSelection(**selection), yes, as_json)


@command(
    "release",
    epilog="Examples:\n  mythjobs release --command transcode-h264\n  mythjobs release --lost",
)
@_selection_options
@click.option(
    "--lost", is_flag=True, help="Jobs that are held because they were lost too often in a row."
)
@pass_session
def release(session: Session, /, as_json: bool, yes: bool, **selection: Any) -> int:
    """Release held jobs."""
    return _apply(session, _RELEASE, _JobSelection(**selection), yes, as_json)


@command("set", epilog="Example:\n  mythjobs set 42 --priority 50")
@_selection_options
@click.option(
    "--priority",
    type=click.IntRange(-100, 100),
    required=True,
    help="-100 to 100; higher starts first.",
)
@pass_session
def set_(session: Session, /, as_json: bool, yes: bool, priority: int, **selection: Any) -> int:
    """Change the priority of queued jobs, and with it their order."""
    action = _JobAction(
        "priority",
        f"set to priority {priority}",
        ("queued",),
        fields={"priority": priority},
        phrase="change",
    )
    return _apply(session, action, _JobSelection(**selection), yes, as_json)


@command("rerun", epilog="Example:\n  mythjobs rerun --batch 7 --state failed,cancelled")
@_selection_options
@pass_session
def rerun(session: Session, /, as_json: bool, yes: bool, **selection: Any) -> int:
    """Submit ended jobs again, each as a new job.

    A filter without --state selects failed jobs.
    """
    return _apply(session, _RERUN, _JobSelection(**selection), yes, as_json)


@command("pause", epilog="Example:\n  mythjobs pause 42")
@_selection_options
@pass_session
def pause(session: Session, /, as_json: bool, yes: bool, **selection: Any) -> int:
    """Pause running jobs until they are resumed.

    Paused jobs keep their memory and their slot and use no CPU. Their time limits are suspended.
    """
    return _apply(session, _PAUSE, _JobSelection(**selection), yes, as_json)


@command("resume", epilog="Example:\n  mythjobs resume 42")
@_selection_options
@pass_session
def resume(session: Session, /, as_json: bool, yes: bool, **selection: Any) -> int:
    """Resume paused jobs."""
    return _apply(session, _RESUME, _JobSelection(**selection), yes, as_json)


def _apply(
    session: Session, action: _JobAction, selection: _JobSelection, yes: bool, as_json: bool
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


def _apply_to_ids(client: Client, action: _JobAction, ids: tuple[int, ...], as_json: bool) -> int:
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
            terminal.print_line(f"job {each['done']} is a rerun of job {each['id']}")
        elif not as_json:
            terminal.print_line(f"job {each['id']} {each['done']}")
    return _EXIT_REFUSED if any(each["error"] for each in results) else 0


def _apply_to_filter(
    client: Client, action: _JobAction, selection: _JobSelection, yes: bool, as_json: bool
) -> int:
    """Apply the action to all jobs of the filter, after confirmation of their number."""
    filters: Json = {
        "command": selection.command,
        "batch": selection.batch,
        "subject": selection.subject,
    }
    if selection.lost:
        filters["lost"] = True
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
        done = {"act": action.name, "done": 0, "refused": 0, "errors": []}
    if as_json:
        terminal.print_json(done)
    else:
        jobs = "1 job" if done["done"] == 1 else f"{done['done'] or 'no'} jobs"
        terminal.print_line(f"{jobs} {action.past}")
    for each in done["errors"]:
        terminal.print_message(each)
    if done["refused"] > len(done["errors"]):
        terminal.print_message(f"refused for {done['refused'] - len(done['errors'])} more jobs")
    return _EXIT_REFUSED if done["refused"] else 0


def _format_question(action: _JobAction, counts: Json, selected: dict[str, int]) -> str:
    """Return the text to confirm: `cancel 312 queued jobs (not 4 running)`."""
    kept = {each: counts[each] for each in _OPEN if counts[each] and each not in selected}
    jobs = "job" if sum(selected.values()) == 1 else "jobs"
    text = f"{action.phrase or action.name} {_format_counts(selected)} {jobs}"
    return f"{text} (not {_format_counts(kept)})" if kept else text


def _format_counts(counts: dict[str, int]) -> str:
    return " and ".join(f"{count} {_LABELS.get(state, state)}" for state, count in counts.items())
