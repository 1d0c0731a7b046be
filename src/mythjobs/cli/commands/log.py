"""`mythjobs log`: the output of a job, byte for byte."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Final

import click

from mythjobs.cli import terminal
from mythjobs.cli.follow import OutputFollower, report_missing_bytes
from mythjobs.cli.options import JOB, IntegerType
from mythjobs.cli.session import Session, command, pass_session
from mythjobs.cli.waiting import get_reason
from mythjobs.client.client import Json
from mythjobs.model.output_window import LastLines

# Bytes of the last lines from a master that sends the whole output.
_MAX_LAST_LINES_BYTES: Final = 64 * 2**20


@command(
    "log", epilog="Examples:\n  mythjobs log 42\n  mythjobs log 42 -f\n  mythjobs log 42 -f -n 20"
)
@click.argument("job", type=JOB)
@click.option("-f", "--follow", is_flag=True, help="Continue until the job has ended.")
@click.option(
    "-n",
    "--lines",
    type=IntegerType(0, 1_000_000),
    metavar="N",
    help="Show only the last N lines.",
)
@click.option("--stderr", is_flag=True, help="Show stderr, if the command keeps it separately.")
@click.option(
    "--attempt", type=IntegerType(min=1), metavar="N", help="Attempt. Default: the last one."
)
@pass_session
def log(
    session: Session, job: int, follow: bool, lines: int | None, stderr: bool, attempt: int | None
) -> None:
    """Show the output of a job.

    The bytes are written to stdout unchanged; on a terminal control characters are removed. A
    message on stderr says how many bytes of long output were not kept.
    """
    output = _JobOutput(session, job, 2 if stderr else 1)
    n, end = attempt or 0, 0
    found: Json = {}
    if lines is not None or not follow:
        found = output.get_job()
        n = n or found["attempt"]
        if n:
            end = output.copy(n, lines)
    if follow:
        found = output.follow(attempt, n, end)
    if message := _describe_missing_start(found, attempt or found["attempt"]):
        terminal.print_message(message)


def _describe_missing_start(job: Json, n: int) -> str:
    """Return why the attempt has no output if it was never started, else ""."""
    if not job["attempt"]:
        return f"job {job['id']} has not been started: {get_reason(job) or job['state']}"
    for each in job["attempts"]:
        if each["n"] == n and (each["outcome"] or {}).get("kind") == "not_started":
            return f"attempt {n} of job {job['id']} {each['sentence']}"
    return ""


class _JobOutput:
    """One output stream of a job, copied to stdout."""

    def __init__(self, session: Session, job: int, stream: int) -> None:
        self._session = session
        self._job = job
        self._stream = stream
        self._write = terminal.OutputStream(sys.stdout).write

    def get_job(self) -> Json:
        return self._session.client().get(f"jobs/{self._job}")

    def copy(self, n: int, lines: int | None) -> int:
        """Copy what is written now, or the last lines of it. Return the position after them."""
        found: dict[str, str] = {}
        last_lines: LastLines | None = None
        length = 0

        def read_headers(headers: Mapping[str, str]) -> None:
            nonlocal last_lines
            found.update(headers)
            if lines is not None and "x-end" not in headers:
                # A master of an older version ignores `lines`, and sends all that is kept.
                last_lines = LastLines(lines, _MAX_LAST_LINES_BYTES)

        def write(data: bytes) -> None:
            nonlocal length
            length += len(data)
            (self._write if last_lines is None else last_lines.add)(data)

        query = {"stream": self._stream, "attempt": n, "lines": lines}
        self._session.client().stream(f"jobs/{self._job}/output", query, write, read_headers)
        if last_lines is not None:
            self._write(last_lines.get())
        dropped = int(found.get("x-dropped", "0"))
        report_missing_bytes(dropped)
        return int(found.get("x-end", length + dropped))

    def follow(self, attempt: int | None, n: int, offset: int) -> Json:
        """Copy what is written from this position of attempt n on, until the job has ended.
        Return the job.

        attempt: the only one to copy; None for all.
        """
        follower = OutputFollower(self._session, self._job, self._stream, self._write)
        if n:
            follower.skip(n, offset)
        job = follower.follow(attempt)
        report_missing_bytes(follower.count_missing_bytes(job))
        return job
