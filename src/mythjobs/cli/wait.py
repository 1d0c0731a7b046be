"""`mythjobs wait`: return when jobs are over."""

from __future__ import annotations

import click

from mythjobs.cli import output, waiting
from mythjobs.cli.base import JOB, Session, as_json, command, pass_session
from mythjobs.client.client import Json


@command("wait")
@click.argument("jobs", metavar="JOB…", type=JOB, nargs=-1, required=True)
@as_json
@pass_session
def wait(session: Session, jobs: tuple[int, ...], as_json: bool) -> int:
    """Wait until all these jobs are over. Exits with 0 if all succeeded, else with 1."""
    ended: list[Json] = []
    tell = ended.append if as_json else lambda job: output.say_now(waiting.end_of(job))
    code = waiting.wait_for_jobs(session, jobs, tell)
    if as_json:
        output.say_json(ended)
    return code
