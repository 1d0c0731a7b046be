"""Arguments are data: checked against the parameters, then filled into argv or environment."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from mythjobs.errors import BadRequest
from mythjobs.model.command import Command, Parameter, ParameterType
from mythjobs.model.template import Template

# One argument of execve(2) may be 128 KiB with its NUL (MAX_ARG_STRLEN); an environment
# value shares that with its name.
MOST_ARGUMENT: Final = 131_071
_LONGEST_NAME: Final = len("MYTHJOBS_P_=") + 100


def check_value(parameter: Parameter, value: str) -> str:
    """The text as the program gets it. Raises ValueError with a sentence of what is right."""
    if "\0" in value:
        raise ValueError("must not have a NUL character")
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise ValueError("has characters that are not valid Unicode") from None
    if size > MOST_ARGUMENT - _LONGEST_NAME:
        raise ValueError(f"has {size} bytes; the system takes at most {MOST_ARGUMENT}")
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
                raise ValueError(f'"{value[:50]}" is none of {", ".join(parameter.values)}')
        case ParameterType.PATH:
            if not value.startswith("/"):
                raise ValueError(f'"{value[:80]}" must be an absolute path')
        case ParameterType.TEXT:
            pass
    return value


def check_arguments(command: Command, given: Mapping[str, object]) -> dict[str, str]:
    """Every parameter's text, defaults filled in. Raises BadRequest naming the parameter."""
    values: dict[str, str] = {}
    for parameter in command.parameters:
        name = parameter.name
        value = given.get(name)
        if value is None:
            if parameter.default is not None:
                values[name] = parameter.default
            elif parameter.required:
                raise BadRequest(f'{command.name} needs the parameter "{name}"; give {name}=…')
            else:
                values[name] = ""
            continue
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise BadRequest(f'parameter "{name}" must be a text or a number')
        try:
            values[name] = check_value(parameter, str(value))
        except ValueError as error:
            raise BadRequest(f'parameter "{name}": {error}') from None
    for name in given:
        if name not in values:
            known = ", ".join(values) or "none"
            raise BadRequest(f'{command.name} has no parameter "{name}"; it has {known}')
    _check_dashes(command, values)
    return values


def _check_dashes(command: Command, values: Mapping[str, str]) -> None:
    # A value that stands alone and begins with a dash would be read as an option.
    for number, element in enumerate(command.argv):
        name = Template(element).lone if "{" in element else None
        if name is None or not values[name].startswith("-") or "--" in command.argv[:number]:
            continue
        parameter = command.parameter(name)
        if parameter is not None and not parameter.dash and not _is_number(parameter):
            raise BadRequest(
                f'parameter "{name}" begins with a dash and {command.name} would read it as an '
                f'option; say dash = true for it, or put "--" before it in argv'
            )


def _is_number(parameter: Parameter) -> bool:
    return parameter.type in (ParameterType.INT, ParameterType.FLOAT)


def fill_argv(command: Command, values: Mapping[str, str]) -> list[str]:
    """The argument vector that is executed. Shell text stays as its author wrote it."""
    if command.shell:
        return ["/bin/sh", "-c", command.shell, command.name]
    return [
        Template(each).fill(values) if "{" in each or "}" in each else each for each in command.argv
    ]


def parameter_environment(values: Mapping[str, str]) -> dict[str, str]:
    return {f"MYTHJOBS_P_{name.upper()}": value for name, value in values.items()}
