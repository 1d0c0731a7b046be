"""Arguments of a job: validation against parameters, and expansion into argv and environment."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from mythjobs.errors import BadRequest
from mythjobs.model.command import Command, Parameter, ParameterType
from mythjobs.model.template import parse_template

# execve(2) accepts up to 128 KiB for one argument with its NUL (MAX_ARG_STRLEN), or for one
# environment variable with its name and NUL.
MAX_ARGUMENT_BYTES: Final = 131_071
_MAX_NAME_BYTES: Final = len("MYTHJOBS_P_=") + 100


def check_value(parameter: Parameter, value: str) -> str:
    """Return a parameter's value as text for the program. Raises ValueError if it is invalid."""
    if "\0" in value:
        raise ValueError("must not have a NUL character")
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise ValueError("contains characters that are not valid Unicode") from None
    if size > MAX_ARGUMENT_BYTES - _MAX_NAME_BYTES:
        raise ValueError(f"is {size} bytes long; the kernel accepts at most {MAX_ARGUMENT_BYTES}")
    match parameter.type:
        case ParameterType.INT:
            try:
                return str(int(value))
            except ValueError:
                raise ValueError(f'"{value[:50]}" is not a whole number') from None
        case ParameterType.FLOAT:
            try:
                number = float(value)
            except ValueError:
                raise ValueError(f'"{value[:50]}" is not a number') from None
            if not math.isfinite(number):
                raise ValueError("must be a finite number")
        case ParameterType.ENUM:
            if value not in parameter.values:
                raise ValueError(f'"{value[:50]}" must be one of {", ".join(parameter.values)}')
        case ParameterType.PATH:
            if not value.startswith("/"):
                raise ValueError(f'"{value[:80]}" must be an absolute path')
    return value


def check_arguments(command: Command, given: Mapping[str, object]) -> dict[str, str]:
    """Return the text of each parameter, given or default.

    Raises BadRequest for a missing, unknown or invalid parameter.
    """
    # Unknown names first: a misspelt one is the cause if another is missing.
    names = [each.name for each in command.parameters]
    for name in given:
        if name not in names:
            known = ", ".join(names) or "none"
            raise BadRequest(f'{command.name} has no parameter "{name}"; it has {known}')
    values: dict[str, str] = {}
    for parameter in command.parameters:
        name = parameter.name
        value = given.get(name)
        if value is None:
            if parameter.default is not None:
                values[name] = parameter.default
            elif parameter.required:
                raise BadRequest(
                    f'{command.name} requires the parameter "{name}"; give --param {name}=…'
                )
            else:
                values[name] = ""
            continue
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise BadRequest(f'parameter "{name}" must be text or a number')
        try:
            values[name] = check_value(parameter, str(value))
        except ValueError as error:
            raise BadRequest(f'parameter "{name}": {error}') from None
    _check_leading_dashes(command, values)
    return values


def _check_leading_dashes(command: Command, values: Mapping[str, str]) -> None:
    # A value that begins with a dash and is a whole argument is parsed as an option by most
    # programs: refuse it, unless "--" precedes it or the author allows it.
    for number, element in enumerate(command.argv):
        name = parse_template(element).sole_placeholder if "{" in element else None
        if name is None or not values[name].startswith("-") or "--" in command.argv[:number]:
            continue
        parameter = command.parameter(name)
        if parameter is not None and not parameter.dash and not _is_number(parameter):
            raise BadRequest(
                f'parameter "{name}" begins with a dash, and {command.name} would parse it as an '
                f'option; set dash = true for the parameter, or put "--" before it in argv'
            )


def _is_number(parameter: Parameter) -> bool:
    return parameter.type in (ParameterType.INT, ParameterType.FLOAT)


def fill_argv(command: Command, values: Mapping[str, str]) -> list[str]:
    """Return the argument vector to execute: argv with its placeholders filled, or /bin/sh with
    the unchanged shell text, which reads parameters from its environment."""
    if command.shell:
        return ["/bin/sh", "-c", command.shell, command.name]
    return [
        parse_template(each).fill(values) if "{" in each or "}" in each else each
        for each in command.argv
    ]


def fill_stdin(command: Command, values: Mapping[str, str]) -> str:
    """Return the path of the input file; "" for an empty input."""
    return parse_template(command.stdin).fill(values)


def parameter_environment(values: Mapping[str, str]) -> dict[str, str]:
    return {f"MYTHJOBS_P_{name.upper()}": value for name, value in values.items()}
