"""`mythjobs submit`: submit a job, or a batch with a job for each line of a file."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any, Final

import click

from mythjobs import clock
from mythjobs.cli import terminal, waiting
from mythjobs.cli.files import batch_input
from mythjobs.cli.options import COMMAND
from mythjobs.cli.paths import get_current_directory, resolve_path_argument
from mythjobs.cli.session import Session, command, json_option, pass_session
from mythjobs.cli.submit_options import (
    LIMIT_OPTION,
    PARAMETER_OPTION,
    PRINT_ID_OPTION,
    SubmitOptions,
    submit_options,
)
from mythjobs.client.api_paths import command_path
from mythjobs.client.client import Client, Json
from mythjobs.errors import BadRequest, MythJobsError
from mythjobs.model.units import humanize_size

_EXAMPLES: Final = """Examples:
  mythjobs submit transcode-h264 --param source=news.ts --param target=news.mp4
  mythjobs submit thumbnail --param source=news.mp4 --param target=news.jpg --after 42
  mythjobs submit transcode-h264 --each recordings.csv --param preset=medium --wait
  mythjobs submit backup --deadline 06:00 --machine attic --semaphore nas --limit wall=2h
  (echo file; ls *.iso) | mythjobs submit checksum --each -
  find . -name '*.ts' | jq -R '{source: ., target: (. + ".mp4")}' -c |
      mythjobs submit transcode-h264 --each -"""
# Progress is shown for uploads that take longer than this.
_QUIET_MS: Final = 1000


@command("submit", epilog=_EXAMPLES)
@click.argument("name", metavar="COMMAND", type=COMMAND)
@PARAMETER_OPTION
@click.option(
    "--each", type=click.Path(allow_dash=True), metavar="FILE",
    help="Submit a job for each line of a file (-: stdin): JSON lines with an object of arguments "
    "each, or CSV with a header. --param applies to all jobs.",
)  # fmt: skip
@submit_options
@LIMIT_OPTION
@click.option(
    "--wait", is_flag=True, help="Wait for the end; exit with 1 if a job did not succeed."
)
@PRINT_ID_OPTION
@json_option
@pass_session
def submit(
    session: Session,
    /,
    name: str,
    params: tuple[tuple[str, str], ...],
    each: str | None,
    limit: tuple[tuple[str, str | int], ...],
    wait: bool,
    print_id: bool,
    as_json: bool,
    **options: Any,
) -> int:
    """Submit a job of a command, or many with --each."""
    check_output_options(print_id, as_json)
    chosen = SubmitOptions(**options)
    client = session.client()
    defaults = build_defaults(client, name, params, has_arguments=bool(params) or each is not None)
    if each is not None:
        if chosen.after or chosen.key is not None:
            raise BadRequest("--after and --key cannot be used with --each")
        limits = [f"{key}={value}" for key, value in limit]
        query = {"command": name, **chosen.build_query(), "limit": limits}
        return _submit_each(session, client, each, query, defaults, wait, print_id, as_json)
    body = {"command": name, "arguments": defaults.values, **chosen.build_body(dict(limit))}
    submitted = client.post("jobs", body)
    if not as_json:
        described = describe_submitted(submitted, chosen.key)
        terminal.print_line_now(str(submitted["id"]) if print_id else described)
        if not (chosen.after or chosen.hold or chosen.not_before_ms):
            _warn_of_missing_inputs(defaults)
    code = 0
    if wait:

        def report(job: Json) -> None:
            submitted.update({"state": job["state"], "reason": waiting.get_reason(job)})
            if not (as_json or print_id):
                terminal.print_line_now(waiting.format_job_end(job))

        code = waiting.wait_for_jobs(session, [submitted["id"]], report)
    if as_json:
        terminal.print_json(submitted)
    return code


def check_output_options(print_id: bool, as_json: bool) -> None:
    if print_id and as_json:
        raise BadRequest("give --print-id or --json, not both")


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
    inputs = frozenset(
        each["name"] for each in definition.get("parameters", []) if each.get("exists")
    )
    return batch_input.ArgumentDefaults(shared, paths, directory, inputs)


def _warn_of_missing_inputs(defaults: batch_input.ArgumentDefaults) -> None:
    """Tell of files without which the job waits; a path may be misspelt."""
    for name in sorted(defaults.inputs & defaults.values.keys()):
        path = defaults.values[name]
        if path and not os.path.lexists(path):
            terminal.print_message(
                f"there is no file {path} ({name}) on this machine; the job waits for a machine "
                "that can read it"
            )


def describe_submitted(submitted: Json, key: str | None = None) -> str:
    """Return the line about a job that was submitted, with this key if any."""
    if not submitted["new"]:
        return f'job {submitted["id"]} has the key "{key}" already: {submitted["state"]}'
    text = f"job {submitted['id']} {submitted['state']}"
    return f"{text}: {submitted['reason']}" if submitted["reason"] else text


def _submit_each(
    session: Session,
    client: Client,
    file: str,
    query: Json,
    defaults: batch_input.ArgumentDefaults,
    wait: bool,
    print_id: bool,
    as_json: bool,
) -> int:
    batch = _upload(client, query, file, defaults)
    first, last = batch["ids"]
    if not as_json:
        jobs = "1 job" if batch["jobs"] == 1 else f"{batch['jobs']} jobs ({first} to {last})"
        ids = f"{first}-{last}" if first != last else f"{first}"
        text = f"batch {batch['batch']}: {jobs} submitted"
        terminal.print_line_now(ids if print_id else text)
        _warn_if_impossible(client, batch["batch"], first)
    # Ids of a batch are consecutive. The master returns the first and the last, --json lists all.
    answer: Json = {"batch": batch["batch"], "ids": list(range(first, last + 1))}
    code = 0
    if wait:
        batch, code = waiting.wait_for_batch(session, batch["batch"])
        answer["counts"] = batch["counts"]
        if not (as_json or print_id):
            terminal.print_line(f"batch {batch['batch']}: {waiting.format_counts(batch['counts'])}")
    if as_json:
        terminal.print_json(answer)
    return code


def _warn_if_impossible(client: Client, batch: int, first: int) -> None:
    """Print why no machine can run the jobs of a batch, as a submit of one job does."""
    with suppress(MythJobsError):  # the batch is submitted, whatever happens now
        sentence = client.get(f"jobs/{first}/why")["sentence"]
        if sentence.startswith("will wait"):
            terminal.print_message(f"batch {batch} {sentence}")


def _upload(client: Client, query: Json, file: str, defaults: batch_input.ArgumentDefaults) -> Json:
    progress = terminal.ProgressLine()
    name = "stdin" if file == "-" else file
    lines: list[int] = []
    try:
        with _open_input(file) as source:
            pieces = batch_input.read_pieces(source, name, defaults, lines)
            return client.upload("batches", query, _report_upload(pieces, progress))
    except (IsADirectoryError, FileNotFoundError, PermissionError) as error:
        shown = file or '""'
        raise BadRequest(f"cannot read {shown}: {error.strerror}") from None
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
    pieces: Iterable[tuple[int, bytes]], progress: terminal.ProgressLine
) -> Iterator[bytes]:
    began_ms, sent = clock.master_now().steady_ms, 0
    for count, piece in pieces:
        yield piece
        sent += len(piece)
        if clock.master_now().steady_ms - began_ms > _QUIET_MS:
            progress.show(f"{count} argument sets sent ({humanize_size(sent)})")
