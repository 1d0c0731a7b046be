"""`mythjobs log`: the bytes that a job wrote, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping

import click

from mythjobs.cli import terminal
from mythjobs.cli.bytes_out import open_stdout
from mythjobs.cli.follow import OutputFollower, report_missing_bytes
from mythjobs.cli.session import JOB, Session, command, pass_session
from mythjobs.cli.waiting import get_reason


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
        follower = OutputFollower(session, job, stream, open_stdout().write)
        report_missing_bytes(follower.count_missing_bytes(follower.follow(attempt)))
        return
    client = session.client()
    if attempt is None:
        found = client.get(f"jobs/{job}")
        if not found["attempt"]:
            terminal.print_message(
                f"job {job} has not been started: {get_reason(found) or found['state']}"
            )
            return
        attempt = found["attempt"]
    dropped = [0]

    def heads(headers: Mapping[str, str]) -> None:
        dropped[0] = int(headers.get("x-dropped", "0"))

    client.stream(
        f"jobs/{job}/output", {"stream": stream, "attempt": attempt}, open_stdout().write, heads
    )
    report_missing_bytes(dropped[0])
