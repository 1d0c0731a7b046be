"""`mythjobs cancel`, `hold`, `release` and `rerun`: acts on jobs that are there."""

from __future__ import annotations

from typing import Any, Final

import click

from mythjobs.cli import output
from mythjobs.cli.base import JOB, Session, as_json, command, pass_session
from mythjobs.cli.texts import clean

_REFUSED: Final = 2


def _act(session: Session, act: str, ids: tuple[int, ...], as_json: bool) -> int:
    """What can be done is done; 2 if anything could not."""
    acted: list[dict[str, Any]] = session.client().post(f"jobs/{act}", {"ids": list(ids)})["jobs"]
    if as_json:
        output.say_json(acted)
    for each in acted:
        if each["error"]:
            output.note(each["error"])
        elif not as_json and act == "rerun":
            output.say(f"job {each['done']} runs job {each['id']} again")
        elif not as_json:
            output.say(clean(f"job {each['id']} {each['done']}"))
    return _REFUSED if any(each["error"] for each in acted) else 0


_jobs = click.argument("jobs", metavar="JOB…", type=JOB, nargs=-1, required=True)


@command("cancel")
@_jobs
@as_json
@pass_session
def cancel(session: Session, jobs: tuple[int, ...], as_json: bool) -> int:
    """Cancel jobs. One that runs is asked to end (TERM), and killed after its grace."""
    return _act(session, "cancel", jobs, as_json)


@command("hold")
@_jobs
@as_json
@pass_session
def hold(session: Session, jobs: tuple[int, ...], as_json: bool) -> int:
    """Keep jobs from starting until they are released.

    One that runs already runs on.
    """
    return _act(session, "hold", jobs, as_json)


@command("release")
@_jobs
@as_json
@pass_session
def release(session: Session, jobs: tuple[int, ...], as_json: bool) -> int:
    """Let jobs start that were held."""
    return _act(session, "release", jobs, as_json)


@command("rerun")
@_jobs
@as_json
@pass_session
def rerun(session: Session, jobs: tuple[int, ...], as_json: bool) -> int:
    """Submit jobs that are over once more, each as a new job."""
    return _act(session, "rerun", jobs, as_json)
