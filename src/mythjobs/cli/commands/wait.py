"""`mythjobs wait`: wait until jobs or a batch have ended."""

from __future__ import annotations

import click

from mythjobs.cli import terminal, waiting
from mythjobs.cli.options import JOB_RANGE, IntegerType, join_ranges
from mythjobs.cli.session import Session, command, json_option, pass_session
from mythjobs.client.client import Json


@command("wait", epilog="Examples:\n  mythjobs wait 42 50-60\n  mythjobs wait --batch 7")
@click.argument("jobs", metavar="[JOB…]", type=JOB_RANGE, nargs=-1, callback=join_ranges)
@click.option("--batch", type=IntegerType(min=1), metavar="ID", help="All jobs of a batch.")
@json_option
@pass_session
def wait(session: Session, jobs: tuple[int, ...], batch: int | None, as_json: bool) -> int:
    """Wait until jobs have ended.

    Exits with 0 if all succeeded, with 1 if one did not, and with 67 if all jobs that have not
    ended are held, so that they run only when a user releases them.
    """
    if bool(jobs) == (batch is not None):
        raise click.UsageError("name jobs, or give --batch", click.get_current_context())
    if batch is not None:
        found, code = waiting.wait_for_batch(session, batch)
        if as_json:
            terminal.print_json(found)
        else:
            terminal.print_line_now(waiting.format_batch(found))
        return code
    ended: list[Json] = []

    def report(job: Json) -> None:
        ended.append(job)
        if not as_json and waiting.has_ended(job):
            terminal.print_line_now(waiting.format_job_end(job))

    code = waiting.wait_for_jobs(session, jobs, report)
    if as_json:
        terminal.print_json(ended)
    return code
