"""`mythjobs jobs` and `mythjobs show`: the list of jobs, and details of a job or batch."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from typing import Any, Final

import click

from mythjobs import clock
from mythjobs.cli import terminal
from mythjobs.cli.options import COMMAND, JOB, PAST, STATES, TEXT, IntegerType
from mythjobs.cli.session import Session, command, json_option, pass_session
from mythjobs.cli.terminal import Cell
from mythjobs.cli.times import (
    format_job_left,
    format_job_progress,
    format_run_time,
    format_short_time,
    format_time,
)
from mythjobs.cli.waiting import format_batch, get_reason
from mythjobs.client.client import Client
from mythjobs.model.command import RUN
from mythjobs.model.life import LOST_OFTEN, JobState
from mythjobs.model.units import humanize_duration, humanize_size

# Jobs in one request; longer lists are read page by page.
_PAGE_SIZE: Final = 500
# Longest text in the list on a terminal: the program of an ad-hoc job may be a whole script.
_MAX_CELL: Final = 160


@command(
    "jobs",
    epilog="Examples:\n  mythjobs jobs --state running\n"
    "  mythjobs jobs --state failed --since 22:00      (what failed since last night)",
)
@click.option(
    "--state",
    "states",
    type=STATES,
    default=(),
    metavar="STATE[,STATE…]",
    help=f"Only jobs in these states: {', '.join(JobState)}.",
)
@click.option("--command", "of", type=COMMAND, metavar="COMMAND", help="Only jobs of this command.")
@click.option("--batch", type=IntegerType(min=1), metavar="ID", help="Only jobs of this batch.")
@click.option("--subject", type=TEXT, help="Only jobs about this subject.")
@click.option("--held", is_flag=True, help="Only held jobs.")
@click.option(
    "--since",
    "since_ms",
    type=PAST,
    metavar="TIME",
    help="Only jobs that ended since TIME or have not ended. TIME: 2h (ago), 22:00, yesterday, "
    "2026-11-03 22:00.",
)
@click.option(
    "--limit",
    default=100,
    show_default=True,
    type=IntegerType(min=1),
    help="List at most N jobs.",
)
@json_option
@pass_session
def jobs(
    session: Session,
    states: tuple[str, ...],
    of: str | None,
    batch: int | None,
    subject: str | None,
    held: bool,
    since_ms: int | None,
    limit: int,
    as_json: bool,
) -> None:
    """List jobs, newest first: state, progress, reason, run time."""
    query = {
        "state": ",".join(states) or None, "command": of, "batch": batch, "subject": subject,
        "held": held or None, "since_ms": since_ms,
    }  # fmt: skip
    is_read_by_person = sys.stdout.isatty() and not as_json
    client = session.client()
    found = list(_get_pages(client, query, limit + is_read_by_person))
    has_more = len(found) > limit
    del found[limit:]
    if as_json:
        terminal.print_json(found)
        return
    now_ms = clock.master_now().wall_ms
    rows = [
        (
            each["id"],
            Cell(each["state"], each["state"]),
            Cell(_format_done(each, now_ms), each["state"]),
            each["command"],
            _format_subject(each),
            each["priority"] or "",
            format_short_time(each["submitted_ms"], now_ms),
            Cell(_format_reason(each, now_ms), each["state"]),
        )
        for each in found
    ]
    headings = ("job", "state", "done", "command", "subject", "priority", "submitted", "reason")
    terminal.print_table(headings, rows, ("job", "priority", "done"), _MAX_CELL)
    if has_more:
        newest = "this is the newest job" if limit == 1 else f"these are the newest {limit} jobs"
        terminal.print_message(f"{newest}; --limit shows more, --state running those that run")


def _get_pages(client: Client, query: dict[str, Any], limit: int) -> Iterator[dict[str, Any]]:
    before = None
    while limit > 0:
        page = client.get("jobs", {**query, "limit": min(limit, _PAGE_SIZE), "before": before})
        yield from page["jobs"]
        limit -= len(page["jobs"])
        before = page["next"]
        if before is None or not page["jobs"]:
            return


@command("show", epilog="Examples:\n  mythjobs show 42\n  mythjobs show --batch 7")
@click.argument("job", type=JOB, required=False)
@click.option("--batch", type=IntegerType(min=1), metavar="ID", help="Show this batch.")
@json_option
@pass_session
def show(session: Session, job: int | None, batch: int | None, as_json: bool) -> None:
    """Show details of a job, or the progress of a batch."""
    if (job is None) == (batch is None):
        raise click.UsageError("name a job, or give --batch", click.get_current_context())
    client = session.client()
    found = client.get(f"batches/{batch}" if job is None else f"jobs/{job}")
    if as_json:
        terminal.print_json(found)
    elif job is None:
        terminal.print_line(format_batch(found))
    else:
        _print_job(found)
        if found["reason"]["code"] == LOST_OFTEN:
            terminal.print_message(
                f"job {job} does not run: it was lost {found['losses']} times in a row. "
                f"`mythjobs release {job}` runs it again, `mythjobs cancel {job}` ends it"
            )


def _print_job(found: dict[str, Any]) -> None:
    terminal.print_line(f"job {found['id']}  {found['command']}")
    terminal.print_fields(_list_fields(found))
    if found["command"] != RUN:
        _print_section(
            "arguments", [f"{name} = {value}" for name, value in found["arguments"].items()]
        )
    _print_section("attempts", [_format_attempt(each) for each in found["attempts"]])
    _print_section("events", [_format_event(each) for each in found["events"]])


def _list_fields(job: dict[str, Any]) -> Iterator[tuple[str, str | Cell]]:
    state = [
        job["state"],
        format_job_progress(job),
        "held" if job["hold"] else "",
        f"cancellation requested by {job['stop_requested']}" if job["stop_requested"] else "",
        f"frozen by {', '.join(job['frozen'])}" if job["frozen"] else "",
    ]
    yield "state", Cell(", ".join(filter(None, state)), job["state"])
    yield "expected end", _format_end(job, clock.master_now().wall_ms)
    yield "reason", Cell(get_reason(job), job["state"])
    yield "program", _format_program(job)
    yield "subject", job["subject"] or ""
    yield "priority", str(job["priority"])
    yield "key", job["key"] or ""
    yield "batch", str(job["batch"] or "")
    yield "after", ", ".join(_format_dependency(each) for each in job["after"])
    yield "comment", job["comment"]
    yield "not before", format_time(job["not_before_ms"])
    yield "deadline", format_time(job["deadline_ms"])
    yield "machine", job["machine"]
    yield "prefers", job["prefer"]
    yield "labels", ", ".join(job["labels"])
    yield "semaphores", _format_pairs(job["semaphores"])
    yield "limits", _format_pairs(job["limits"])
    yield "failures", str(job["failures"] or "")
    yield "lost", f"{job['losses']} times in a row" if job["losses"] else ""
    by = f" by {job['submitter']}" if job["submitter"] else ""
    yield "submitted", format_time(job["submitted_ms"]) + by
    yield "ended", format_time(job["ended_ms"])
    yield "rerun of", f"job {job['rerun_of']}" if job["rerun_of"] else ""


def _format_done(job: dict[str, Any], now_ms: int) -> str:
    """`42 % ~5 min`: progress and time left; ~ marks what mythjobs estimates."""
    return " ".join(filter(None, (format_job_progress(job), format_job_left(job, now_ms))))


def _format_end(job: dict[str, Any], now_ms: int) -> str:
    end_ms, mark = job["eta_ms"], ""
    if end_ms is None:
        end_ms, mark = job.get("estimated_end_ms"), "~"
    if end_ms is None:
        return ""
    left = humanize_duration(max(0, end_ms - now_ms) / 1000)
    return f"{mark}{format_short_time(end_ms, now_ms)} (in {mark}{left})"


def _format_reason(job: dict[str, Any], now_ms: int) -> str:
    """Return the reason for a job's state with its run time, and its comment: a user's note, or
    what the program reported last."""
    comment = job["comment"]
    reason = _add_run_time(get_reason(job), job, now_ms)
    if job["state"] != "running" and reason and comment:
        return f"{reason} ({comment})"
    return ": ".join(filter(None, (reason, comment)))


def _add_run_time(reason: str, job: dict[str, Any], now_ms: int) -> str:
    """Return `running on attic for 5 min`, `took 5 min on attic`, or for a job that failed or was
    cancelled `exit code 3, took 5 min on attic`."""
    run_time = format_run_time(job, now_ms)
    if not run_time:
        return reason
    if job["run_s"] is not None:
        took = f"took {run_time}" + (f" on {job['ran_on']}" if job["ran_on"] else "")
        return f"{reason}, {took}" if reason else took
    return f"{reason} for {run_time}" if job["reason"]["code"] == "running" else reason


def _format_pairs(pairs: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in pairs.items())


def _format_subject(job: dict[str, Any]) -> str:
    """Return the job's subject, or the program of an ad-hoc job, which has no subject."""
    return job["subject"] or _format_program(job) or ""


def _format_program(job: dict[str, Any]) -> str:
    return shlex.join(job["arguments"].get("argv") or []) if job["command"] == RUN else ""


def _format_dependency(after: dict[str, Any]) -> str:
    word = {"ok": "succeeded", "any": "ended", "failure": "failed"}.get(
        after["when"], after["when"]
    )
    return f"{after['job']} {word}{' ✔' if after['met'] else ''}"


def _format_attempt(attempt: dict[str, Any]) -> str:
    parts = [str(attempt["n"]), str(attempt["machine"]), format_time(attempt["started_ms"])]
    parts.append(attempt["sentence"] or attempt["state"])
    usage = attempt.get("usage") or {}
    if usage.get("wall_s"):
        parts.append(f"took {humanize_duration(usage['wall_s'])}")
    if usage.get("cpu_s"):
        parts.append(f"CPU {humanize_duration(usage['cpu_s'])}")
    if usage.get("peak_bytes"):
        parts.append(f"peak {humanize_size(usage['peak_bytes'])}")
    if attempt["evidence"] not in (None, "observed"):
        parts.append(attempt["evidence"].removeprefix("observed; "))
    if attempt["state"] != "over":
        parts.append(f"if its machine is silent: {_format_silence_policy(attempt)}")
    return "  ".join(part for part in parts if part)


def _format_silence_policy(attempt: dict[str, Any]) -> str:
    lease_s = attempt["lease_s"]
    return str(attempt["silence"]) + (f" after {humanize_duration(lease_s)}" if lease_s else "")


def _format_event(event: dict[str, Any]) -> str:
    return f"{format_time(event['at_ms'])}  {event['kind']}  {event['detail'] or ''}"


def _print_section(heading: str, lines: list[str]) -> None:
    if lines:
        terminal.print_line(heading)
    for line in lines:
        terminal.print_line(f"  {line}".rstrip())
