"""`mythjobs cancel`, `hold`, `release`, `rerun`, `pause` and `resume`: acts on jobs that are there,
named by their numbers or by what they have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import click

from mythjobs.cli import terminal
from mythjobs.cli.asking import confirm, yes_option
from mythjobs.cli.options import STATES
from mythjobs.cli.session import COMMAND, JOB, TEXT, Session, command, json_option, pass_session
from mythjobs.cli.texts import sanitize
from mythjobs.client.client import Client, Json
from mythjobs.errors import BadRequest
from mythjobs.model.life import FINAL, JobState

_REFUSED: Final = 2
_LIVE: Final = ("leased", "running")
_OPEN: Final = ("queued", *_LIVE)
_WORDS: Final = {"queued": "waiting", "leased": "about to start"}


class _JobAction(NamedTuple):
    """An act, the states in which it can be done, and those that are meant if none is given."""

    name: str
    past: str
    states: tuple[str, ...]
    default_states: tuple[str, ...] = ()


_CANCEL: Final = _JobAction("cancel", "cancelled or asked to end", _OPEN)
_HOLD: Final = _JobAction("hold", "held", ("queued",))
_RELEASE: Final = _JobAction("release", "released", ("queued",))
_RERUN: Final = _JobAction("rerun", "run again", tuple(sorted(FINAL)), ("failed",))
_PAUSE: Final = _JobAction("pause", "asked to stand still", _LIVE)
_RESUME: Final = _JobAction("resume", "asked to go on", _LIVE)


class _JobSelection(NamedTuple):
    """What the command line says of which jobs are meant."""

    jobs: tuple[int, ...]
    command: str | None
    states: tuple[str, ...]
    batch: int | None
    subject: str | None

    @property
    def by_filter(self) -> bool:
        return bool(self.command or self.states or self.batch or self.subject is not None)


def _selection_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say which jobs are meant, of every act."""
    for option in (
        json_option,
        yes_option,
        click.option("--subject", type=TEXT, help="All about this subject."),
        click.option("--batch", type=click.IntRange(min=1), metavar="ID", help="All of a batch."),
        click.option("--state", "states", type=STATES, default=(), metavar="STATE[,STATE…]",
                     help="Only those in these states."),
        click.option("--command", type=COMMAND, metavar="COMMAND", help="All of a command."),
        click.argument("jobs", metavar="[JOB…]", type=JOB, nargs=-1),
    ):  # fmt: skip
        function = option(function)
    return function


@command(
    "cancel",
    epilog="Examples:\n  mythjobs cancel 42 43\n"
    "  mythjobs cancel --command transcode-h264 --state queued\n  mythjobs cancel --batch 7 --yes",
)
@_selection_options
@pass_session
def cancel(session: Session, /, as_json: bool, yes: bool, **which: Any) -> int:
    """Cancel jobs. One that runs is asked to end (TERM), and killed after its grace."""
    return _apply(session, _CANCEL, _JobSelection(**which), yes, as_json)


@command("hold", epilog="Example:\n  mythjobs hold --command transcode-h264")
@_selection_options
@pass_session
def hold(session: Session, /, as_json: bool, yes: bool, **which: Any) -> int:
    """Keep jobs from starting until they are released.

    One that runs already runs on.
    """
    return _apply(session, _HOLD, _JobSelection(**which), yes, as_json)


@command("release", epilog="Example:\n  mythjobs release --command transcode-h264")
@_selection_options
@pass_session
def release(session: Session, /, as_json: bool, yes: bool, **which: Any) -> int:
    """Let jobs start that were held."""
    return _apply(session, _RELEASE, _JobSelection(**which), yes, as_json)


@command("rerun", epilog="Example:\n  mythjobs rerun --batch 7 --state failed,cancelled")
@_selection_options
@pass_session
def rerun(session: Session, /, as_json: bool, yes: bool, **which: Any) -> int:
    """Submit jobs that are over once more, each as a new job.

    By filter and without --state those that failed.
    """
    return _apply(session, _RERUN, _JobSelection(**which), yes, as_json)


@command("pause", epilog="Example:\n  mythjobs pause 42")
@_selection_options
@pass_session
def pause(session: Session, /, as_json: bool, yes: bool, **which: Any) -> int:
    """Let jobs that run stand still until they are resumed.

    They keep memory and place and use no CPU, and their limits of time stand still too.
    """
    return _apply(session, _PAUSE, _JobSelection(**which), yes, as_json)


@command("resume", epilog="Example:\n  mythjobs resume 42")
@_selection_options
@pass_session
def resume(session: Session, /, as_json: bool, yes: bool, **which: Any) -> int:
    """Let jobs go on that were paused."""
    return _apply(session, _RESUME, _JobSelection(**which), yes, as_json)


def _apply(
    session: Session, act: _JobAction, which: _JobSelection, yes: bool, as_json: bool
) -> int:
    if bool(which.jobs) == which.by_filter:
        raise click.UsageError(
            "name jobs by their numbers, or by --command, --state, --batch, --subject",
            click.get_current_context(),
        )
    if which.jobs:
        return _apply_to_ids(session.client(), act, which.jobs, as_json)
    for each in which.states:
        if each not in act.states:
            raise BadRequest(
                f"{act.name} does nothing to {each} jobs, only to {' or '.join(act.states)}"
            )
    return _apply_to_filter(session.client(), act, which, yes, as_json)


def _apply_to_ids(client: Client, act: _JobAction, ids: tuple[int, ...], as_json: bool) -> int:
    """What can be done is done; 2 if anything could not."""
    acted: list[dict[str, Any]] = client.post(f"jobs/{act.name}", {"ids": list(ids)})["jobs"]
    if as_json:
        terminal.print_json(acted)
    for each in acted:
        if each["error"]:
            terminal.print_message(each["error"])
        elif not as_json and act.name == "rerun":
            terminal.print_line(f"job {each['done']} runs job {each['id']} again")
        elif not as_json:
            terminal.print_line(sanitize(f"job {each['id']} {each['done']}"))
    return _REFUSED if any(each["error"] for each in acted) else 0


def _apply_to_filter(
    client: Client, act: _JobAction, which: _JobSelection, yes: bool, as_json: bool
) -> int:
    """Says first how many those are."""
    asked = {"command": which.command, "batch": which.batch, "subject": which.subject}
    states = which.states or act.default_states or act.states
    held = True if act.name == "release" else None
    counts = client.get("jobs/count", {**asked, "held": held})["counts"]
    meant = {str(state): counts[state] for state in JobState if state in states and counts[state]}
    if meant:
        confirm(_format_question(counts, meant), yes)
        body = {"act": act.name, "states": list(states), **asked}
        # A million of them take a while.
        done = client.post("jobs/all", body, timeout_s=None)
    else:
        if which.batch is not None:
            client.get(f"batches/{which.batch}")  # says so if there is none
        done = {"act": act.name, "done": 0, "refused": 0, "errors": []}
    if as_json:
        terminal.print_json(done)
    else:
        jobs = "1 job" if done["done"] == 1 else f"{done['done'] or 'no'} jobs"
        terminal.print_line(f"{jobs} {act.past}")
    for each in done["errors"]:
        terminal.print_message(each)
    if done["refused"] > len(done["errors"]):
        terminal.print_message(f"{done['refused'] - len(done['errors'])} more could not be done")
    return _REFUSED if done["refused"] else 0


def _format_question(counts: Json, meant: dict[str, int]) -> str:
    """`312 waiting, 4 running are kept`."""
    kept = {each: counts[each] for each in _OPEN if counts[each] and each not in meant}
    words = [_format_counts(meant)]
    if kept:
        words.append(f"{_format_counts(kept)} {'is' if sum(kept.values()) == 1 else 'are'} kept")
    return ", ".join(words)


def _format_counts(counts: dict[str, int]) -> str:
    return " and ".join(f"{count} {_WORDS.get(state, state)}" for state, count in counts.items())
