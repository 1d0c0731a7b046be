"""`mythjobs cancel`, `hold`, `release`, `rerun`, `pause` and `resume`: acts on jobs that are there,
named by their numbers or by what they have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import click

from mythjobs.cli import terminal
from mythjobs.cli.asking import agree, yes_option
from mythjobs.cli.options import STATES
from mythjobs.cli.session import COMMAND, JOB, TEXT, Session, as_json, command, pass_session
from mythjobs.cli.texts import clean
from mythjobs.client.client import Client, Json
from mythjobs.errors import BadRequest
from mythjobs.model.life import FINAL, JobState

_REFUSED: Final = 2
_LIVE: Final = ("leased", "running")
_OPEN: Final = ("queued", *_LIVE)
_WORDS: Final = {"queued": "waiting", "leased": "about to start"}


class _Act(NamedTuple):
    """An act, the states in which it can be done, and those that are meant if none is given."""

    name: str
    past: str
    can: tuple[str, ...]
    usual: tuple[str, ...] = ()


_CANCEL: Final = _Act("cancel", "cancelled or asked to end", _OPEN)
_HOLD: Final = _Act("hold", "held", ("queued",))
_RELEASE: Final = _Act("release", "released", ("queued",))
_RERUN: Final = _Act("rerun", "run again", tuple(sorted(FINAL)), ("failed",))
_PAUSE: Final = _Act("pause", "asked to stand still", _LIVE)
_RESUME: Final = _Act("resume", "asked to go on", _LIVE)


class _Which(NamedTuple):
    """What the command line says of which jobs are meant."""

    jobs: tuple[int, ...]
    of: str | None
    states: tuple[str, ...]
    batch: int | None
    subject: str | None

    @property
    def by_filter(self) -> bool:
        return bool(self.of or self.states or self.batch or self.subject is not None)


def _selecting(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say which jobs are meant, of every act."""
    for option in (
        as_json,
        yes_option,
        click.option("--subject", type=TEXT, help="All about this subject."),
        click.option("--batch", type=click.IntRange(min=1), metavar="ID", help="All of a batch."),
        click.option("--state", "states", type=STATES, default=(), metavar="STATE[,STATE…]",
                     help="Only those in these states."),
        click.option("--command", "of", type=COMMAND, metavar="COMMAND", help="All of a command."),
        click.argument("jobs", metavar="[JOB…]", type=JOB, nargs=-1),
    ):  # fmt: skip
        function = option(function)
    return function


@command(
    "cancel",
    epilog="Examples:\n  mythjobs cancel 42 43\n"
    "  mythjobs cancel --command transcode-h264 --state queued\n  mythjobs cancel --batch 7 --yes",
)
@_selecting
@pass_session
def cancel(session: Session, /, as_json: bool, yes: bool, **which: Any) -> int:
    """Cancel jobs. One that runs is asked to end (TERM), and killed after its grace."""
    return _act(session, _CANCEL, _Which(**which), yes, as_json)


@command("hold", epilog="Example:\n  mythjobs hold --command transcode-h264")
@_selecting
@pass_session
def hold(session: Session, /, as_json: bool, yes: bool, **which: Any) -> int:
    """Keep jobs from starting until they are released.

    One that runs already runs on.
    """
    return _act(session, _HOLD, _Which(**which), yes, as_json)


@command("release", epilog="Example:\n  mythjobs release --command transcode-h264")
@_selecting
@pass_session
def release(session: Session, /, as_json: bool, yes: bool, **which: Any) -> int:
    """Let jobs start that were held."""
    return _act(session, _RELEASE, _Which(**which), yes, as_json)


@command("rerun", epilog="Example:\n  mythjobs rerun --batch 7 --state failed,cancelled")
@_selecting
@pass_session
def rerun(session: Session, /, as_json: bool, yes: bool, **which: Any) -> int:
    """Submit jobs that are over once more, each as a new job.

    By filter and without --state those that failed.
    """
    return _act(session, _RERUN, _Which(**which), yes, as_json)


@command("pause", epilog="Example:\n  mythjobs pause 42")
@_selecting
@pass_session
def pause(session: Session, /, as_json: bool, yes: bool, **which: Any) -> int:
    """Let jobs that run stand still until they are resumed.

    They keep memory and place and use no CPU, and their limits of time stand still too.
    """
    return _act(session, _PAUSE, _Which(**which), yes, as_json)


@command("resume", epilog="Example:\n  mythjobs resume 42")
@_selecting
@pass_session
def resume(session: Session, /, as_json: bool, yes: bool, **which: Any) -> int:
    """Let jobs go on that were paused."""
    return _act(session, _RESUME, _Which(**which), yes, as_json)


def _act(session: Session, act: _Act, which: _Which, yes: bool, as_json: bool) -> int:
    if bool(which.jobs) == which.by_filter:
        raise click.UsageError(
            "name jobs by their numbers, or by --command, --state, --batch, --subject",
            click.get_current_context(),
        )
    if which.jobs:
        return _act_on_ids(session.client(), act, which.jobs, as_json)
    for each in which.states:
        if each not in act.can:
            raise BadRequest(
                f"{act.name} does nothing to {each} jobs, only to {' or '.join(act.can)}"
            )
    return _act_on_all(session.client(), act, which, yes, as_json)


def _act_on_ids(client: Client, act: _Act, ids: tuple[int, ...], as_json: bool) -> int:
    """What can be done is done; 2 if anything could not."""
    acted: list[dict[str, Any]] = client.post(f"jobs/{act.name}", {"ids": list(ids)})["jobs"]
    if as_json:
        terminal.say_json(acted)
    for each in acted:
        if each["error"]:
            terminal.note(each["error"])
        elif not as_json and act.name == "rerun":
            terminal.say(f"job {each['done']} runs job {each['id']} again")
        elif not as_json:
            terminal.say(clean(f"job {each['id']} {each['done']}"))
    return _REFUSED if any(each["error"] for each in acted) else 0


def _act_on_all(client: Client, act: _Act, which: _Which, yes: bool, as_json: bool) -> int:
    """Says first how many those are."""
    asked = {"command": which.of, "batch": which.batch, "subject": which.subject}
    states = which.states or act.usual or act.can
    held = True if act.name == "release" else None
    counts = client.get("jobs/count", {**asked, "held": held})["counts"]
    meant = {str(state): counts[state] for state in JobState if state in states and counts[state]}
    if meant:
        agree(_question(counts, meant), yes)
        body = {"act": act.name, "states": list(states), **asked}
        # A million of them take a while.
        done = client.post("jobs/all", body, timeout_s=None)
    else:
        if which.batch is not None:
            client.get(f"batches/{which.batch}")  # says so if there is none
        done = {"act": act.name, "done": 0, "refused": 0, "errors": []}
    if as_json:
        terminal.say_json(done)
    else:
        jobs = "1 job" if done["done"] == 1 else f"{done['done'] or 'no'} jobs"
        terminal.say(f"{jobs} {act.past}")
    for each in done["errors"]:
        terminal.note(each)
    if done["refused"] > len(done["errors"]):
        terminal.note(f"{done['refused'] - len(done['errors'])} more could not be done")
    return _REFUSED if done["refused"] else 0


def _question(counts: Json, meant: dict[str, int]) -> str:
    """`312 waiting, 4 running are kept`."""
    kept = {each: counts[each] for each in _OPEN if counts[each] and each not in meant}
    words = [_said(meant)]
    if kept:
        words.append(f"{_said(kept)} {'is' if sum(kept.values()) == 1 else 'are'} kept")
    return ", ".join(words)


def _said(counts: dict[str, int]) -> str:
    return " and ".join(f"{count} {_WORDS.get(state, state)}" for state, count in counts.items())
