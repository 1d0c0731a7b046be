"""`mythjobs command add`, `edit`, `export` and `import`: definitions between files and master."""

from __future__ import annotations

import os
from typing import Any, Final

import click

from mythjobs.cli import terminal
from mythjobs.cli.files import definition_file
from mythjobs.cli.files.editor import edit_text
from mythjobs.cli.files.toml_text import format_toml
from mythjobs.cli.session import COMMAND, Session, command, json_option, pass_session
from mythjobs.cli.texts import sanitize
from mythjobs.client.client import Client, Json
from mythjobs.client.paths import command_path
from mythjobs.errors import BadRequest, Conflict
from mythjobs.model.command import RUN
from mythjobs.model.template import unset_variable

_EXPORT: Final = """Examples:
  mythjobs command export                        all of them, into the current directory
  mythjobs command export transcode-h264 --dir definitions --replace"""


@command("add", epilog="Example:\n  mythjobs command add transcode-h264.toml")
@click.argument("file", type=click.Path(allow_dash=True))
@click.option("--replace", is_flag=True, help="Make a new revision of a command that is there.")
@json_option
@pass_session
def add(session: Session, file: str, replace: bool, as_json: bool) -> None:
    """Define a command from a TOML file, or from stdin for -.

    Says so if no job of it could start as things are now.
    """
    table = definition_file.parse_definition(definition_file.read_text(file), file)
    name = table["name"]
    try:
        done = _store_definition(session.client(), table, replace)
    except Conflict:
        raise Conflict(
            f"{name} is taken; use `mythjobs command edit {name}`, or "
            f"`mythjobs command add --replace {file}`"
        ) from None
    if as_json:
        terminal.print_json(done)
    else:
        _print_defined(done, table)


@command("edit", epilog="Example:\n  EDITOR=nano mythjobs command edit transcode-h264")
@click.argument("name", type=COMMAND)
@pass_session
def edit(session: Session, name: str) -> None:
    """Edit a definition in $EDITOR, as a new revision.

    Jobs that were submitted before keep the revision they were submitted with.
    """
    client = session.client()
    before = client.get(command_path(name))["definition"]
    tables: list[definition_file.Table] = []

    def store(text: str, path: str) -> Json:
        table = definition_file.parse_definition(text, path)
        if table["name"] != name:
            raise BadRequest(f"{path}: the name cannot be changed; add a new command for that")
        tables.append(table)
        return _store_definition(client, table, replace=True)

    done = edit_text(name, format_toml(before), store)
    _print_defined(done, tables[-1])


@command("export", epilog=_EXPORT)
@click.argument("names", metavar="[NAME…]", type=COMMAND, nargs=-1)
@click.option("--dir", "directory", default=".", metavar="DIR", help="Where the files go.")
@click.option("--replace", is_flag=True, help="Write over files that are there.")
@json_option
@pass_session
def export(
    session: Session, names: tuple[str, ...], directory: str, replace: bool, as_json: bool
) -> None:
    """Write definitions to files.

    NAME.toml each; without names all of them.
    """
    client = session.client()
    wanted = names or tuple(
        each["name"] for each in client.get("commands")["commands"] if each["name"] != RUN
    )
    texts = {
        os.path.join(directory, f"{name}.toml"): client.get(command_path(name))["definition"]
        for name in wanted
    }
    try:
        os.makedirs(directory, exist_ok=True)
        for path, definition in texts.items():
            with open(path, "w" if replace else "x", encoding="utf-8") as file:
                file.write(format_toml(definition))
    except FileExistsError as error:
        raise BadRequest(
            f"{error.filename} is there already; --replace writes over it, --dir takes another "
            "directory"
        ) from None
    except OSError as error:
        raise BadRequest(f"{error.filename} cannot be written: {error.strerror}") from None
    if as_json:
        terminal.print_json(list(texts))
    else:
        for path in texts:
            terminal.print_line(sanitize(path))


@command("import", epilog="Example:\n  mythjobs command import definitions/*.toml --replace")
@click.argument("files", metavar="FILE…", nargs=-1, required=True, type=click.Path(allow_dash=True))
@click.option("--replace", is_flag=True, help="Make new revisions of commands that are there.")
@json_option
@pass_session
def import_(session: Session, files: tuple[str, ...], replace: bool, as_json: bool) -> None:
    """Define commands from TOML files.

    Nothing is stored if one of the files is wrong, or without --replace if a name is taken.
    """
    tables = {
        file: definition_file.parse_definition(definition_file.read_text(file), file)
        for file in files
    }
    client = session.client()
    _refuse_duplicates(client, tables, replace)
    done = [_store_definition(client, table, replace) for table in tables.values()]
    if as_json:
        terminal.print_json(done)
    else:
        for each, table in zip(done, tables.values(), strict=True):
            _print_defined(each, table)


def _refuse_duplicates(client: Client, tables: dict[str, dict[str, Any]], replace: bool) -> None:
    there = {each["name"] for each in client.get("commands")["commands"]}
    seen: dict[str, str] = {}
    for file, table in tables.items():
        name = table["name"]
        if name in seen:
            raise BadRequest(f"{name} stands in {seen[name]} and in {file}; leave one of them out")
        seen[name] = file
        if name in there and not replace:
            raise Conflict(f"{file}: {name} is taken; --replace makes a new revision of it")


def _store_definition(client: Client, table: definition_file.Table, replace: bool) -> Json:
    return client.post("commands", {"definition": table, "replace": replace})


def _print_defined(done: Json, table: definition_file.Table) -> None:
    word = "stored" if done["changed"] else "is as it was"
    terminal.print_line(sanitize(f"command {done['name']} {word}, revision {done['revision']}"))
    if done["nowhere"]:
        why = done["nowhere"]
        terminal.print_message(
            f"its jobs {why}" if why.startswith("will ") else f"its jobs will wait: {why}"
        )
    names = [each["name"] for each in table.get("parameters", ())]
    missed = unset_variable(table.get("shell", ""), names)
    if missed is not None and missed not in table.get("env", {}):
        terminal.print_message(
            f"its shell text reads ${missed}, which nothing sets; the parameter is "
            f'"$MYTHJOBS_P_{missed.upper()}"'
        )
