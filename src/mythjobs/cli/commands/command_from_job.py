"""`mythjobs command from-job`: a command that runs what a job of `mythjobs run` ran."""

from __future__ import annotations

import shlex
from typing import Any, Final

import click

from mythjobs.cli import terminal
from mythjobs.cli.commands.definitions import print_defined, store_definition
from mythjobs.cli.options import COMMAND, JOB
from mythjobs.cli.session import Session, command, json_option, pass_session
from mythjobs.client.client import Json
from mythjobs.errors import BadRequest, Conflict
from mythjobs.model.command import RUN
from mythjobs.model.units import format_duration

_EXAMPLES: Final = """Examples:
  mythjobs command from-job 42 nightly-rsync
  mythjobs command from-job 42 nightly-rsync --print >nightly-rsync.toml"""
_MAX_SUMMARY: Final = 100
_REGEX: Final = "regex:"


@command("from-job", epilog=_EXAMPLES)
@click.argument("job", type=JOB)
@click.argument("name", type=COMMAND)
@click.option("--print", "is_printed", is_flag=True, help="Print the definition; store nothing.")
@click.option("--replace", is_flag=True, help="Add a new revision if the command exists.")
@json_option
@pass_session
def from_job(
    session: Session, job: int, name: str, is_printed: bool, replace: bool, as_json: bool
) -> None:
    """Define a command NAME from a job of `mythjobs run`, to submit or schedule it.

    It has the job's program and directory, limits, labels, semaphores and progress, but neither its
    environment nor its machine. `mythjobs command edit NAME` adds parameters.
    """
    client = session.client()
    found = client.get(f"jobs/{job}")
    if found["command"] != RUN:
        raise BadRequest(
            f"job {job} is of command {found['command']}, not of `mythjobs run`; "
            f"`mythjobs command show {found['command']}` shows its definition"
        )
    table = _build_definition(found, name)
    if is_printed:
        _print_definition(table, as_json)
        return
    try:
        done = store_definition(client, table, replace)
    except Conflict:
        raise Conflict(
            f"command {name} exists already; choose another name, or add a revision with --replace"
        ) from None
    if as_json:
        terminal.print_json(done)
    else:
        print_defined(done, table)


def _print_definition(table: Json, as_json: bool) -> None:
    from mythjobs.cli.files.toml_text import format_toml

    if as_json:
        terminal.print_json(table)
    else:
        # Safe on a terminal, because TOML has control characters escaped.
        print(format_toml(table), end="")


def _build_definition(job: dict[str, Any], name: str) -> Json:
    run = job["arguments"]
    line = shlex.join(run["argv"])
    limits = {"wall": format_duration(run["wall_s"])} if run.get("wall_s") else {}
    optional = {
        "subject": _escape(job["subject"] or ""),
        "progress": _parse_progress(run.get("progress") or ""),
        "best_effort": bool(run.get("best_effort")),
        "labels": job["labels"],
        "semaphores": job["semaphores"],
        "limits": limits | job["limits"],
    }
    return {
        "name": name,
        "summary": line if len(line) <= _MAX_SUMMARY else f"{line[: _MAX_SUMMARY - 1]}…",
        "argv": [_escape(each) for each in run["argv"]],
        "cwd": _escape(run["cwd"]),
        "stderr": "separate",
        **{key: value for key, value in optional.items() if value},
    }


def _escape(text: str) -> str:
    """Return text of a definition that stands for this text: without placeholders."""
    return text.replace("{", "{{").replace("}", "}}")


def _parse_progress(text: str) -> str | Json:
    return {"regex": text.removeprefix(_REGEX)} if text.startswith(_REGEX) else text
