"""`mythjobs log`: the output of a job, byte for byte."""

from __future__ import annotations

import sys
from collections.abc import Mapping

import click

from mythjobs.cli import terminal
from mythjobs.cli.follow import OutputFollower, report_missing_bytes
from mythjobs.cli.options import JOB
from mythjobs.cli.session import Session, command, pass_session
from mythjobs.cli.waiting import get_reason


@command("log", epilog="Examples:\n  mythjobs log 42\n  mythjobs log 42 -f")
@click.argument("job", type=JOB)
@click.option("-f", "--follow", is_flag=True, help="Continue until the job has ended.")
@click.option("--stderr", is_flag=True, help="Stderr, of a command that keeps two streams.")
@click.option(
    "--attempt", type=click.IntRange(min=1), metavar="N", help="Of this attempt, not of the last."
)
@pass_session
def log(session: Session, job: int, follow: bool, stderr: bool, attempt: int | None) -> None:
    """Show the output of a job.

    The bytes are written to stdout unchanged; on a terminal control characters are removed. A
    message on stderr says how many bytes of long output were not kept.
    """
    stream = 2 if stderr else 1
    write = terminal.OutputStream(sys.stdout).write
    if follow:
        follower = OutputFollower(session, job, stream, write)
        report_missing_bytes(follower.count_missing_bytes(follower.follow(attempt)))
        return
    client = session.client()
    if attempt is None:
        found = client.get(f"jobs/{job}")
        if not found["attempt"]:
            reason = get_reason(found) or found["state"]
            terminal.print_message(f"job {job} has not been started: {reason}")
            return
        attempt = found["attempt"]
    dropped = [0]

    def read_headers(headers: Mapping[str, str]) -> None:
        dropped[0] = int(headers.get("x-dropped", "0"))

    query = {"stream": stream, "attempt": attempt}
    client.stream(f"jobs/{job}/output", query, write, read_headers)
    report_missing_bytes(dropped[0])
