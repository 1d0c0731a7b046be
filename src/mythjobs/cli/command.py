"""`mythjobs command`: the commands that jobs run, defined in TOML files."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile

import click

from mythjobs.cli import definition_file, output
from mythjobs.cli.base import COMMAND, Session, as_json, command, pass_session
from mythjobs.cli.texts import clean
from mythjobs.cli.toml_text import toml_text
from mythjobs.client.client import Client, Json, quote
from mythjobs.errors import BadRequest, Conflict, MythJobsError


@command("add", epilog="Example:\n  mythjobs command add transcode-h264.toml")
@click.argument("file", type=click.Path(allow_dash=True))
@click.option("--replace", is_flag=True, help="Make a new revision of a command that is there.")
@as_json
@pass_session
def add(session: Session, file: str, replace: bool, as_json: bool) -> None:
    """Define a command from a TOML file, or from stdin for -."""
    table = definition_file.parse(definition_file.read_text(file), file)
    name = table["name"]
    try:
        done = _define(session.client(), table, replace)
    except Conflict:
        raise Conflict(
            f"{name} is taken; use `mythjobs command edit {name}`, or "
            f"`mythjobs command add --replace {file}`"
        ) from None
    if as_json:
        output.say_json(done)
    else:
        output.say(_defined(done))


@command("list")
@as_json
@pass_session
def list_(session: Session, as_json: bool) -> None:
    """List the commands."""
    found = session.client().get("commands")["commands"]
    if as_json:
        output.say_json(found)
        return
    rows = [
        (
            each["name"],
            each["revision"],
            "" if each["enabled"] else "disabled",
            " ".join(each["parameters"]),
            each["summary"],
        )
        for each in found
    ]
    output.table(("command", "revision", "", "parameters", "summary"), rows, ("revision",))


@command("show")
@click.argument("name", type=COMMAND)
@as_json
@pass_session
def show(session: Session, name: str, as_json: bool) -> None:
    """Show a command's definition, as TOML that `command add` takes."""
    found = session.client().get(f"commands/{quote(name)}")
    if as_json:
        output.say_json(found)
        return
    # Control characters stand escaped in it, as TOML demands.
    print(toml_text(found["definition"]), end="")


@command("edit")
@click.argument("name", type=COMMAND)
@pass_session
def edit(session: Session, name: str) -> None:
    """Edit a definition in $EDITOR, as a new revision.

    Jobs that were submitted before keep the revision they were submitted with.
    """
    client = session.client()
    before = client.get(f"commands/{quote(name)}")["definition"]
    file = tempfile.NamedTemporaryFile(  # noqa: SIM115 (kept where it could not be stored)
        "w", prefix=f"{name}-", suffix=".toml", delete=False, encoding="utf-8"
    )
    with file:
        file.write(toml_text(before))
    try:
        done = _edit_until_right(client, name, file.name)
    except (MythJobsError, OSError):
        output.note(f"your text is kept in {file.name}")
        raise
    os.unlink(file.name)
    output.say(_defined(done))


def _edit_until_right(client: Client, name: str, path: str) -> Json:
    while True:
        _call_editor(path)
        try:
            table = definition_file.parse(definition_file.read_text(path), path)
            if table["name"] != name:
                raise BadRequest(f"{path}: the name cannot be changed; add a new command for that")
            return _define(client, table, replace=True)
        except BadRequest as error:
            if not sys.stdin.isatty():
                raise
            output.note(error.sentence)
            if not click.confirm("Edit it again?", default=True, err=True):
                raise


def _call_editor(path: str) -> None:
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    try:
        code = subprocess.run([*shlex.split(editor), path], check=False).returncode
    except (OSError, ValueError) as error:
        raise BadRequest(f'the editor "{editor}" cannot be started ({error}); set EDITOR') from None
    if code != 0:
        raise BadRequest(f'the editor "{editor}" ended with code {code}; nothing was stored')


@command("remove")
@click.argument("name", type=COMMAND)
@pass_session
def remove(session: Session, name: str) -> None:
    """Remove a command. Jobs that are over stay in the list."""
    session.client().delete(f"commands/{quote(name)}")
    output.say(f"command {clean(name)} removed")


def _define(client: Client, table: definition_file.Table, replace: bool) -> Json:
    return client.post("commands", {"definition": table, "replace": replace})


def _defined(done: Json) -> str:
    word = "stored" if done["changed"] else "is as it was"
    return clean(f"command {done['name']} {word}, revision {done['revision']}")


command_group = click.Group(
    "command",
    commands=[add, list_, show, edit, remove],
    no_args_is_help=True,
    help="Define commands: what jobs run.",
)
