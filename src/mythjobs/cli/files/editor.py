"""Editing of TOML text in the user's editor, repeated until the text can be stored."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import click

from mythjobs.cli import terminal
from mythjobs.cli.files import definition_file
from mythjobs.client.client import Json
from mythjobs.errors import BadRequest, MythJobsError


def edit_table(name: str, before: Json, store: Callable[[str, str], Json]) -> Json:
    """Let the user edit the table `before` as TOML text. Return the result of `store`.

    store: called with the edited text and the path of its file. If it fails, the file is kept, a
    message names it, unless its text is as before, and the error is raised.
    """
    from mythjobs.cli.files.toml_text import format_toml

    file = tempfile.NamedTemporaryFile(  # noqa: SIM115 (kept if the text cannot be stored)
        "w", prefix=f"{_safe_file_part(name)}-", suffix=".toml", delete=False, encoding="utf-8"
    )
    text = format_toml(before)
    with file:
        file.write(text)
    try:
        done = _edit_until_stored(file.name, store)
    except (MythJobsError, OSError):
        if Path(file.name).read_bytes() == text.encode():
            os.unlink(file.name)
        else:
            terminal.print_message(f"the edited text is kept in {file.name}")
        raise
    os.unlink(file.name)
    return done


def _safe_file_part(name: str) -> str:
    """Return a name with the characters replaced that a file name should not have."""
    return "".join(each if each.isalnum() or each in "-._" else "_" for each in name)


def _edit_until_stored(path: str, store: Callable[[str, str], Json]) -> Json:
    while True:
        _run_editor(path)
        try:
            return store(definition_file.read_text(path), path)
        except BadRequest as error:
            if not sys.stdin.isatty():
                raise
            terminal.print_message(error.sentence)
            if not click.confirm("Edit it again?", default=True, err=True):
                raise


def _run_editor(path: str) -> None:
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    try:
        code = subprocess.run([*shlex.split(editor), path], check=False).returncode
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise BadRequest(f'cannot start the editor "{editor}" ({why}); set EDITOR') from None
    if code != 0:
        raise BadRequest(f'the editor "{editor}" exited with code {code}; nothing was stored')
