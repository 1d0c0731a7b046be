"""`mythjobs log`: the bytes that a job wrote, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping

import click

from mythjobs.cli import terminal
from mythjobs.cli.bytes_out import to_stdout
from mythjobs.cli.follow import Follower, tell_missing
from mythjobs.cli.session import JOB, Session, command, pass_session
from mythjobs.cli.waiting import why_so


@command("log")
@click.argument("job", type=JOB)
@click.option("-f", "--follow", is_flag=True, help="Go on until the job is over.")
@click.option("--stderr", is_flag=True, help="The other stream, of a command that keeps two.")
@click.option(
    "--attempt", type=click.IntRange(min=1), metavar="N", help="Of this attempt, not of the last."
)
@pass_session
def log(session: Session, job: int, follow: bool, stderr: bool, attempt: int | None) -> None:
    """Write a job's output to stdout, byte for byte.

    On a terminal control characters are left out. What was not kept of a long output is told on
    stderr.
    """
    stream = 2 if stderr else 1
    if follow:
        follower = Follower(session, job, stream, to_stdout().write)
        tell_missing(follower.missing(follower.follow(attempt)))
        return
    client = session.client()
    if attempt is None:
        found = client.get(f"jobs/{job}")
        if not found["attempt"]:
            terminal.note(f"job {job} has not been started: {why_so(found) or found['state']}")
            return
        attempt = found["attempt"]
    dropped = [0]

    def heads(headers: Mapping[str, str]) -> None:
        dropped[0] = int(headers.get("x-dropped", "0"))

    client.stream(
        f"jobs/{job}/output", {"stream": stream, "attempt": attempt}, to_stdout().write, heads
    )
    tell_missing(dropped[0])
