"""Reading of TOML files: definitions and machine policies, with errors that name the line."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from typing import Any, Final

from mythjobs.cli.files.toml_lines import find_line
from mythjobs.config.bounded_files import read_input
from mythjobs.errors import DefinitionError
from mythjobs.model.contradictions import new_command_from_table

Table = dict[str, Any]

_TOML_PLACE: Final = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")


def read_text(path: str) -> str:
    """Return the text of the file, or of stdin for `-`. Raises DefinitionError."""
    try:
        return read_input(path).decode("utf-8")
    except IsADirectoryError:
        raise DefinitionError("", f"{path} is a directory; name the .toml file in it") from None
    except OSError as error:
        raise DefinitionError("", f"cannot read {_name_file(path)}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise DefinitionError(
            "", f"{_name_file(path)} line {line}: must be UTF-8 text; save the file as UTF-8"
        ) from None


def _name_file(path: str) -> str:
    """Return the name of a file in messages."""
    return {"": '""', "-": "stdin"}.get(path, path)


def parse_definition(
    text: str, path: str, check: Callable[[Table], object] = new_command_from_table
) -> Table:
    """Parse and check TOML. Raises DefinitionError with file, line and key.

    check: called with the table; raises DefinitionError if it is invalid.
    """
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise DefinitionError("", describe_syntax_error(str(error), path)) from None
    try:
        check(table)
    except DefinitionError as error:
        line = find_line(text, error.key)
        name = _name_file(path)
        place = f"{name} line {line}" if line else name
        raise DefinitionError("", f"{place}: {error.sentence}") from None
    return table


def describe_syntax_error(message: str, path: str) -> str:
    """Return tomllib's error message, reworded to begin with file and line."""
    found, name = _TOML_PLACE.search(message), _name_file(path)
    if not found:
        return f"{name}: invalid TOML: {message}"
    what = message[: found.start()]
    if not found[1]:
        return f"{name}: invalid TOML: {what} at its end"
    return f"{name} line {found[1]}: invalid TOML: {what} (column {found[2]})"
