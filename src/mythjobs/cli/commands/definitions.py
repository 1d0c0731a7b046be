"""`mythjobs command add`, `edit`, `export` and `import`: definitions as files."""

from __future__ import annotations

import os
from typing import Any, Final

import click

from mythjobs.cli import terminal
from mythjobs.cli.files import definition_file
from mythjobs.cli.files.editor import edit_table
from mythjobs.cli.options import COMMAND
from mythjobs.cli.session import Session, command, json_option, pass_session
from mythjobs.client.api_paths import command_path
from mythjobs.client.client import Client, Json
from mythjobs.errors import BadRequest, Conflict
from mythjobs.model.command import RUN
from mythjobs.model.template import unset_variable

_EXPORT: Final = """Examples:
  mythjobs command export                        all, to the current directory
  mythjobs command export transcode-h264 --dir definitions --replace"""


@command("add", epilog="Example:\n  mythjobs command add transcode-h264.toml")
@click.argument("file", type=click.Path(allow_dash=True))
@click.option("--replace", is_flag=True, help="Add a new revision if the command exists.")
@json_option
@pass_session
def add(session: Session, file: str, replace: bool, as_json: bool) -> None:
    """Define a command from a TOML file (-: stdin).

    A warning says why, if no job of the command could start at present.
    """
    table = definition_file.parse_definition(definition_file.read_text(file), file)
    name = table["name"]
    try:
        done = store_definition(session.client(), table, replace)
    except Conflict:
        raise Conflict(
            f"command {name} exists already; use `mythjobs command edit {name}`, or "
            f"`mythjobs command add --replace {file}`"
        ) from None
    if as_json:
        terminal.print_json(done)
    else:
        print_defined(done, table)


@command("edit", epilog="Example:\n  EDITOR=nano mythjobs command edit transcode-h264")
@click.argument("name", type=COMMAND)
@pass_session
def edit(session: Session, name: str) -> None:
    """Edit a definition in $EDITOR and store it as a new revision.

    Jobs keep the revision that they were submitted with.
    """
    client = session.client()
    before = client.get(command_path(name))["definition"]
    tables: list[definition_file.Table] = []

    def store(text: str, path: str) -> Json:
        table = definition_file.parse_definition(text, path)
        if table["name"] != name:
            raise BadRequest(f"{path}: the name cannot be changed; add a new command instead")
        tables.append(table)
        return store_definition(client, table, replace=True)

    done = edit_table(name, before, store)
    print_defined(done, tables[-1])


@command("export", epilog=_EXPORT)
@click.argument("names", metavar="[NAME…]", type=COMMAND, nargs=-1)
@click.option("--dir", "directory", default=".", metavar="DIR", help="Directory of the files.")
@click.option("--replace", is_flag=True, help="Overwrite existing files.")
@json_option
@pass_session
def export(
    session: Session, names: tuple[str, ...], directory: str, replace: bool, as_json: bool
) -> None:
    """Write definitions to files NAME.toml; without names, all definitions."""
    from mythjobs.cli.files.toml_text import format_toml

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
            f"{error.filename} exists already; overwrite it with --replace, or name another "
            "directory with --dir"
        ) from None
    except OSError as error:
        raise BadRequest(f"cannot write {error.filename}: {error.strerror}") from None
    if as_json:
        terminal.print_json(list(texts))
    else:
        for path in texts:
            terminal.print_line(path)


@command("import", epilog="Example:\n  mythjobs command import definitions/*.toml --replace")
@click.argument("files", metavar="FILE…", nargs=-1, required=True, type=click.Path(allow_dash=True))
@click.option("--replace", is_flag=True, help="Add new revisions of commands that exist.")
@json_option
@pass_session
def import_(session: Session, files: tuple[str, ...], replace: bool, as_json: bool) -> None:
    """Define commands from TOML files.

    Nothing is stored if a file is invalid, or if a command exists and --replace is not given.
    """
    tables = {
        file: definition_file.parse_definition(definition_file.read_text(file), file)
        for file in files
    }
    client = session.client()
    _refuse_duplicates(client, tables, replace)
    done = [store_definition(client, table, replace) for table in tables.values()]
    if as_json:
        terminal.print_json(done)
    else:
        for each, table in zip(done, tables.values(), strict=True):
            print_defined(each, table)


def _refuse_duplicates(client: Client, tables: dict[str, dict[str, Any]], replace: bool) -> None:
    existing = {each["name"] for each in client.get("commands")["commands"]}
    seen: dict[str, str] = {}
    for file, table in tables.items():
        name = table["name"]
        if name in seen:
            raise BadRequest(f"{seen[name]} and {file} both define {name}; omit one of them")
        seen[name] = file
        if name in existing and not replace:
            raise Conflict(f"{file}: command {name} exists already; add a revision with --replace")


def store_definition(client: Client, table: definition_file.Table, replace: bool) -> Json:
    return client.post("commands", {"definition": table, "replace": replace})


def print_defined(done: Json, table: definition_file.Table) -> None:
    result = "stored" if done["changed"] else "is unchanged"
    terminal.print_line(f"command {done['name']} {result}, revision {done['revision']}")
    if done["nowhere"]:
        why = done["nowhere"]
        terminal.print_message(
            f"its jobs {why}" if why.startswith("will ") else f"its jobs will wait: {why}"
        )
    names = [each["name"] for each in table.get("parameters", ())]
    unset = unset_variable(table.get("shell", ""), names)
    if unset is not None and unset not in table.get("env", {}):
        terminal.print_message(
            f"the shell text reads ${unset}, which is not set; the parameter is "
            f'"$MYTHJOBS_P_{unset.upper()}"'
        )
