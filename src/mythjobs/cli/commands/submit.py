"""`mythjobs submit`: submit a job, or a batch with a job for each line of a file."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final, NamedTuple

import click

from mythjobs import clock
from mythjobs.cli import terminal, waiting
from mythjobs.cli.files import batch_input
from mythjobs.cli.options import (
    AFTER,
    COMMAND,
    INSTANT,
    LABEL,
    LIMIT,
    MACHINE,
    PARAMETER,
    TEXT,
    UNITS,
    refuse_duplicates,
)
from mythjobs.cli.paths import get_current_directory, resolve_path_argument
from mythjobs.cli.session import Session, command, json_option, pass_session
from mythjobs.cli.times import format_time
from mythjobs.client.api_paths import command_path
from mythjobs.client.client import Client, Json
from mythjobs.errors import BadRequest
from mythjobs.model.units import humanize_size

_EXAMPLES: Final = """Examples:
  mythjobs submit transcode-h264 --param source=news.ts --param target=news.mp4
  mythjobs submit thumbnail --param source=news.mp4 --param target=news.jpg --after 42
  mythjobs submit transcode-h264 --each recordings.csv --param preset=medium --wait
  mythjobs submit backup --deadline 06:00 --machine attic --semaphore nas --limit wall=2h
  find . -name '*.ts' | jq -R '{source: ., target: (. + ".mp4")}' -c |
      mythjobs submit transcode-h264 --each -"""
# Progress is shown for uploads that take longer than this.
_QUIET_MS: Final = 1000


class SubmitOptions(NamedTuple):
    """Options of a submit except the arguments of the command."""

    subject: str | None
    priority: int
    after: tuple[Json, ...]
    key: str | None
    hold: bool
    not_before_ms: int | None
    deadline_ms: int | None
    machine: str
    prefer: str
    label: tuple[str, ...]
    semaphore: tuple[tuple[str, int], ...]
    limit: tuple[tuple[str, str | int], ...]
    comment: str


@command("submit", epilog=_EXAMPLES)
@click.argument("name", metavar="COMMAND", type=COMMAND)
@click.option(
    "-p", "--param", "params", multiple=True, type=PARAMETER, metavar="NAME=VALUE",
    help="An argument. Paths may be relative to the current directory.",
)  # fmt: skip
@click.option(
    "--each", type=click.Path(allow_dash=True), metavar="FILE",
    help="Submit a job for each line of a file (-: stdin): JSON lines with an object of arguments "
    "each, or CSV with a header. --param applies to all jobs.",
)  # fmt: skip
@click.option("--subject", type=TEXT, help="Subject, instead of the command's.")
@click.option(
    "--priority",
    type=click.IntRange(-100, 100),
    default=0,
    help="-100 to 100; higher starts first.",
)
@click.option(
    "--after", type=AFTER, multiple=True, metavar="JOB[:any|:failure]",
    help="Start after this job has succeeded (:any ended, :failure failed). Repeatable.",
)  # fmt: skip
@click.option("--key", type=TEXT, help="A second submit with the same key returns the first job.")
@click.option("--hold", is_flag=True, help="Hold until `mythjobs release`.")
@click.option(
    "--not-before", "not_before_ms", type=INSTANT, metavar="TIME",
    help='Do not start before: "+2h", "22:00" or "2026-11-03 22:00".',
)  # fmt: skip
@click.option(
    "--deadline", "deadline_ms", type=INSTANT, metavar="TIME",
    help="Cancel the job if it has not started by then.",
)  # fmt: skip
@click.option("--machine", type=MACHINE, default="", help="Run only on this machine.")
@click.option("--prefer", type=MACHINE, default="", help="Run on this machine if there is room.")
@click.option("--label", type=LABEL, multiple=True, help="Run on a machine with this label.")
@click.option("--semaphore", type=UNITS, multiple=True, callback=refuse_duplicates,
              metavar="NAME[=N]", help="Hold N units of a semaphore while running.")  # fmt: skip
@click.option(
    "--limit", type=LIMIT, multiple=True, callback=refuse_duplicates, metavar="KEY=VALUE",
    help="Limit wall, cpu, idle, memory, output or processes, the grace period, nice or io. The "
    "tighter of this and the command's limit applies.",
)  # fmt: skip
@click.option("--comment", type=TEXT, default="", help="A note, shown with the job.")
@click.option(
    "--wait", is_flag=True, help="Wait for the end; exit with 1 if a job did not succeed."
)
@json_option
@pass_session
def submit(
    session: Session,
    /,
    name: str,
    params: tuple[tuple[str, str], ...],
    each: str | None,
    wait: bool,
    as_json: bool,
    **options: Any,
) -> int:
    """Submit a job of a command, or many with --each."""
    chosen = SubmitOptions(**options)
    now_ms = clock.master_now().wall_ms
    if chosen.deadline_ms is not None and chosen.deadline_ms <= now_ms:
        raise BadRequest(
            f"the deadline, {format_time(chosen.deadline_ms)}, is in the past, so the job would be "
            "cancelled at once; give a later time"
        )
    client = session.client()
    defaults = build_defaults(client, name, params, has_arguments=bool(params) or each is not None)
    if each is not None:
        return _submit_each(session, client, name, each, defaults, chosen, wait, as_json)
    body = {"command": name, "arguments": defaults.values, **_build_body(chosen)}
    submitted = client.post("jobs", body)
    if not as_json:
        terminal.print_line_now(_describe_submitted(submitted, chosen.key))
    code = 0
    if wait:
        ended: list[Json] = []
        code = waiting.wait_for_jobs(session, [submitted["id"]], ended.append)
        submitted |= {"state": ended[0]["state"], "reason": waiting.get_reason(ended[0])}
        if not as_json:
            terminal.print_line(waiting.format_job_end(ended[0]))
    if as_json:
        terminal.print_json(submitted)
    return code


def build_defaults(
    client: Client, name: str, params: tuple[tuple[str, str], ...], *, has_arguments: bool
) -> batch_input.ArgumentDefaults:
    """Return the arguments common to all jobs, with absolute paths."""
    shared: dict[str, str] = {}
    for key, value in params:
        if key in shared:
            raise BadRequest(f'the parameter "{key}" is given twice')
        shared[key] = value
    if not has_arguments:
        return batch_input.ArgumentDefaults(shared, frozenset(), "/")
    definition = client.get(command_path(name))["definition"]
    paths = frozenset(
        each["name"] for each in definition.get("parameters", []) if each.get("type") == "path"
    )
    directory = get_current_directory()
    for key in paths & shared.keys():
        shared[key] = resolve_path_argument(key, shared[key], directory)
    return batch_input.ArgumentDefaults(shared, paths, directory)


def _build_body(chosen: SubmitOptions) -> Json:
    fields = chosen._asdict()
    fields["after"] = list(chosen.after)
    optional = {
        "deadline_ms": fields.pop("deadline_ms"),
        "machine": fields.pop("machine"),
        "prefer": fields.pop("prefer"),
        "labels": list(fields.pop("label")),
        "semaphores": dict(fields.pop("semaphore")),
        "limits": dict(fields.pop("limit")),
    }
    return fields | {name: value for name, value in optional.items() if value}


def _describe_submitted(submitted: Json, key: str | None) -> str:
    if not submitted["new"]:
        return f'job {submitted["id"]} has the key "{key}" already: {submitted["state"]}'
    text = f"job {submitted['id']} {submitted['state']}"
    return f"{text}: {submitted['reason']}" if submitted["reason"] else text


def _submit_each(
    session: Session,
    client: Client,
    name: str,
    file: str,
    defaults: batch_input.ArgumentDefaults,
    chosen: SubmitOptions,
    wait: bool,
    as_json: bool,
) -> int:
    if chosen.after or chosen.key is not None:
        raise BadRequest("--after and --key cannot be used with --each")
    query = {
        "command": name,
        "subject": chosen.subject,
        "priority": chosen.priority,
        "hold": chosen.hold,
        "comment": chosen.comment,
        "machine": chosen.machine or None,
        "prefer": chosen.prefer or None,
        "label": chosen.label,
        "semaphore": [f"{key}={units}" for key, units in chosen.semaphore],
        "limit": [f"{key}={value}" for key, value in chosen.limit],
        "not_before_ms": chosen.not_before_ms,
        "deadline_ms": chosen.deadline_ms,
    }
    batch = _upload(client, query, file, defaults)
    first, last = batch["ids"]
    if not as_json:
        jobs = "1 job" if batch["jobs"] == 1 else f"{batch['jobs']} jobs ({first} to {last})"
        terminal.print_line_now(f"batch {batch['batch']}: {jobs} submitted")
    # Ids of a batch are consecutive. The master returns the first and the last, --json lists all.
    answer: Json = {"batch": batch["batch"], "ids": list(range(first, last + 1))}
    code = 0
    if wait:
        batch, code = waiting.wait_for_batch(session, batch["batch"])
        answer["counts"] = batch["counts"]
        if not as_json:
            terminal.print_line(f"batch {batch['batch']}: {waiting.format_counts(batch['counts'])}")
    if as_json:
        terminal.print_json(answer)
    return code


def _upload(client: Client, query: Json, file: str, defaults: batch_input.ArgumentDefaults) -> Json:
    progress = waiting.ProgressLine()
    name = "stdin" if file == "-" else file
    lines: list[int] = []
    try:
        with _open_input(file) as source:
            pieces = batch_input.read_pieces(source, name, defaults, lines)
            return client.upload("batches", query, _report_upload(pieces, progress))
    except (IsADirectoryError, FileNotFoundError, PermissionError) as error:
        raise BadRequest(f"cannot read {file}: {error.strerror}") from None
    except BadRequest as error:
        sentence = batch_input.relocate_error(error.sentence, name, lines)
        if sentence is None:
            raise
        raise BadRequest(sentence) from None
    finally:
        progress.clear()


def _open_input(file: str) -> AbstractContextManager[Any]:
    return nullcontext(sys.stdin.buffer) if file == "-" else open(file, "rb")


def _report_upload(
    pieces: Iterable[tuple[int, bytes]], progress: waiting.ProgressLine
) -> Iterator[bytes]:
    began_ms, sent = clock.master_now().steady_ms, 0
    for count, piece in pieces:
        yield piece
        sent += len(piece)
        if clock.master_now().steady_ms - began_ms > _QUIET_MS:
            progress.show(f"{count} argument sets sent ({humanize_size(sent)})")
