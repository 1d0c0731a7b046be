"""`mythjobs submit`: one job, or one for each line of a file."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final, NamedTuple

import click

from mythjobs import clock
from mythjobs.cli import terminal, waiting
from mythjobs.cli.files import batch_input
from mythjobs.cli.options import AFTER, INSTANT, LIMIT, PARAMETER, UNITS, refuse_duplicates
from mythjobs.cli.paths import get_current_directory, resolve_path_argument
from mythjobs.cli.session import COMMAND, MACHINE, TEXT, Session, command, json_option, pass_session
from mythjobs.cli.texts import sanitize
from mythjobs.client.client import Client, Json
from mythjobs.client.paths import command_path
from mythjobs.errors import BadRequest
from mythjobs.model.units import humanize_size

_EXAMPLES: Final = """Examples:
  mythjobs submit transcode-h264 --param source=news.ts --param target=news.mp4
  mythjobs submit thumbnail --param source=news.mp4 --param target=news.jpg --after 42
  mythjobs submit transcode-h264 --each recordings.csv --param preset=medium --wait
  mythjobs submit backup --deadline 06:00 --machine attic --semaphore nas --limit wall=2h
  find . -name '*.ts' | jq -R '{source: ., target: (. + ".mp4")}' -c |
      mythjobs submit transcode-h264 --each -"""
# Below this an upload is over before anyone wonders.
_QUIET_MS: Final = 1000


class SubmitOptions(NamedTuple):
    """The options of one submit, but for what becomes arguments."""

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
    help="An argument. A path may be relative to the current directory.",
)  # fmt: skip
@click.option(
    "--each", type=click.Path(allow_dash=True), metavar="FILE",
    help="A job for each line of a file, or of stdin for -: JSON lines, each an object of "
    "arguments, or CSV with a header. --param holds for all of them.",
)  # fmt: skip
@click.option("--subject", type=TEXT, help="What the job is about, instead of the command's own.")
@click.option(
    "--priority", type=click.IntRange(-100, 100), default=0, help="-100 to 100; first the highest."
)
@click.option(
    "--after", type=AFTER, multiple=True, metavar="JOB[:any|:failure]",
    help="Start only after this job has succeeded; or ended, or failed. May stand several times.",
)  # fmt: skip
@click.option("--key", type=TEXT, help="A second submit with this key answers with the first job.")
@click.option("--hold", is_flag=True, help="Do not start before `mythjobs release`.")
@click.option(
    "--not-before", "not_before_ms", type=INSTANT, metavar="TIME",
    help='Do not start before: "+2h", "22:00" or "2026-11-03 22:00".',
)  # fmt: skip
@click.option(
    "--deadline", "deadline_ms", type=INSTANT, metavar="TIME",
    help="Cancel it if it has not started by then.",
)  # fmt: skip
@click.option("--machine", type=MACHINE, default="", help="Run it on this machine alone.")
@click.option("--prefer", type=MACHINE, default="", metavar="MACHINE", help="Run it there if there "
              "is room.")  # fmt: skip
@click.option("--label", type=TEXT, multiple=True, help="Run it where there is this label.")
@click.option("--semaphore", type=UNITS, multiple=True, callback=refuse_duplicates, metavar="NAME[=N]",
              help="Take N units of a semaphore while it runs.")  # fmt: skip
@click.option(
    "--limit", type=LIMIT, multiple=True, callback=refuse_duplicates, metavar="KEY=VALUE",
    help="End it past wall, cpu, idle, memory, output or processes, and kill it after grace; run "
    "it at nice or io. Only tighter than its command's.",
)  # fmt: skip
@click.option("--comment", type=TEXT, default="", help="A note, shown with the job.")
@click.option(
    "--wait", is_flag=True, help="Wait until it is over; exit with 1 if it did not succeed."
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
    **wishes: Any,
) -> int:
    """Submit a job of a command, or many with --each."""
    wished = SubmitOptions(**wishes)
    client = session.client()
    shape = _build_defaults(client, name, params, ask=bool(params) or each is not None)
    if each is not None:
        return _submit_each(session, client, name, each, shape, wished, wait, as_json)
    body = {"command": name, "arguments": shape.values, **_build_body(wished)}
    submitted = client.post("jobs", body)
    if not as_json:
        terminal.print_line_now(_describe_submitted(submitted, wished.key))
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


def _build_defaults(
    client: Client, name: str, params: tuple[tuple[str, str], ...], *, ask: bool
) -> batch_input.ArgumentDefaults:
    """The arguments for all, with the paths among them made absolute."""
    shared: dict[str, str] = {}
    for key, value in params:
        if key in shared:
            raise BadRequest(f'the parameter "{key}" is given twice')
        shared[key] = value
    if not ask:
        return batch_input.ArgumentDefaults(shared, frozenset(), "/")
    definition = client.get(command_path(name))["definition"]
    paths = frozenset(
        each["name"] for each in definition.get("parameters", []) if each.get("type") == "path"
    )
    directory = get_current_directory()
    for key in paths & shared.keys():
        shared[key] = resolve_path_argument(key, shared[key], directory)
    return batch_input.ArgumentDefaults(shared, paths, directory)


def _build_body(wished: SubmitOptions) -> Json:
    fields = wished._asdict()
    fields["after"] = list(wished.after)
    seldom = {
        "deadline_ms": fields.pop("deadline_ms"),
        "machine": fields.pop("machine"),
        "prefer": fields.pop("prefer"),
        "labels": list(fields.pop("label")),
        "semaphores": dict(fields.pop("semaphore")),
        "limits": dict(fields.pop("limit")),
    }
    return fields | {name: value for name, value in seldom.items() if value}


def _describe_submitted(submitted: Json, key: str | None) -> str:
    if not submitted["new"]:
        return sanitize(f'job {submitted["id"]} has the key "{key}" already: {submitted["state"]}')
    words = f"job {submitted['id']} {submitted['state']}"
    return sanitize(f"{words}: {submitted['reason']}" if submitted["reason"] else words)


def _submit_each(
    session: Session,
    client: Client,
    name: str,
    file: str,
    shape: batch_input.ArgumentDefaults,
    wished: SubmitOptions,
    wait: bool,
    as_json: bool,
) -> int:
    if wished.after or wished.key is not None:
        raise BadRequest("--after and --key do not go with --each")
    query = {
        "command": name,
        "subject": wished.subject,
        "priority": wished.priority,
        "hold": wished.hold,
        "comment": wished.comment,
        "machine": wished.machine or None,
        "prefer": wished.prefer or None,
        "label": wished.label,
        "semaphore": [f"{key}={units}" for key, units in wished.semaphore],
        "limit": [f"{key}={value}" for key, value in wished.limit],
        "not_before_ms": wished.not_before_ms,
        "deadline_ms": wished.deadline_ms,
    }
    loaded = _upload(client, query, file, shape)
    first, last = loaded["ids"]
    if not as_json:
        jobs = "1 job" if loaded["jobs"] == 1 else f"{loaded['jobs']} jobs ({first} to {last})"
        terminal.print_line_now(f"batch {loaded['batch']}: {jobs} submitted")
    # The ids of a batch are consecutive; a program gets them one by one.
    answer: Json = {"batch": loaded["batch"], "ids": list(range(first, last + 1))}
    code = 0
    if wait:
        batch = waiting.wait_for_batch(session, loaded["batch"])
        answer["counts"] = batch["counts"]
        code = 0 if batch["counts"]["succeeded"] == batch["jobs"] else waiting.NOT_ALL_SUCCEEDED
        if not as_json:
            terminal.print_line(
                f"batch {loaded['batch']}: {waiting.format_counts(batch['counts'])}"
            )
    if as_json:
        terminal.print_json(answer)
    return code


def _upload(client: Client, query: Json, file: str, shape: batch_input.ArgumentDefaults) -> Json:
    ticker = waiting.ProgressLine()
    name = "stdin" if file == "-" else file
    lines: list[int] = []
    try:
        with _open_input(file) as source:
            pieces = batch_input.read_pieces(source, name, shape, lines)
            return client.upload("batches", query, _report_upload(pieces, ticker))
    except (IsADirectoryError, FileNotFoundError, PermissionError) as error:
        raise BadRequest(f"{file} cannot be read: {error.strerror}") from None
    except BadRequest as error:
        if (placed := batch_input.relocate_error(error.sentence, name, lines)) is None:
            raise
        raise BadRequest(placed) from None
    finally:
        ticker.clear()


def _open_input(file: str) -> AbstractContextManager[Any]:
    return nullcontext(sys.stdin.buffer) if file == "-" else open(file, "rb")


def _report_upload(
    pieces: Iterable[tuple[int, bytes]], ticker: waiting.ProgressLine
) -> Iterator[bytes]:
    began_ms, sent = clock.master_now().steady_ms, 0
    for count, piece in pieces:
        yield piece
        sent += len(piece)
        if clock.master_now().steady_ms - began_ms > _QUIET_MS:
            ticker.show(f"{count} argument sets sent ({humanize_size(sent)})")
