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
    n = attempt
    if n is None and (lines is not None or not follow):
        n, reason = output.find_attempt()
        if not (n or follow):
            terminal.print_message(f"job {job} has not been started: {reason}")
    end = 0
    if n and (lines is not None or not follow):
        end = output.copy(n, lines)
    if follow:
        output.follow(attempt, n or 0, end)


class _JobOutput:
    """One output stream of a job, copied to stdout."""

    def __init__(self, session: Session, job: int, stream: int) -> None:
        self._session = session
        self._job = job
        self._stream = stream
        self._write = terminal.OutputStream(sys.stdout).write

    def find_attempt(self) -> tuple[int, str]:
        """Return the number of the last attempt, 0 if there is none, and why the job waits."""
        found = self._session.client().get(f"jobs/{self._job}")
        return found["attempt"], get_reason(found) or found["state"]

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

    def follow(self, attempt: int | None, n: int, offset: int) -> None:
        """Copy what is written from this position of attempt n on, until the job has ended.

        attempt: the only one to copy; None for all.
        """
        follower = OutputFollower(self._session, self._job, self._stream, self._write)
        if n:
            follower.skip(n, offset)
        report_missing_bytes(follower.count_missing_bytes(follower.follow(attempt)))
