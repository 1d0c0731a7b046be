"""What a command is: a named command line with typed parameters, as its author defined it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from mythjobs.model.limits import Limits

NAME: Final = re.compile(r"[a-z][a-z0-9]*(?:[-_.][a-z0-9]+)*")
PARAMETER_NAME: Final = re.compile(r"[a-z][a-z0-9_]*")

# The built-in command behind `mythjobs run`: its argv, environment and directory are the
# job's own data, so equal runs share a class.
RUN: Final = "run"


class ParameterType(StrEnum):
    TEXT = "text"
    INT = "int"
    FLOAT = "float"
    ENUM = "enum"
    PATH = "path"


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter. `default` is its text; None with `required` means it must be given."""

    name: str
    type: ParameterType = ParameterType.TEXT
    values: tuple[str, ...] = ()
    default: str | None = None
    required: bool = True
    dash: bool = False
    help: str = ""


@dataclass(frozen=True, slots=True)
class Command:
    """One revision of a command. Exactly one of `argv` and `shell` is set.

    `progress` is a preset's name, `status`, or a regular expression behind `regex:` whose
    first group is a percentage. `keep_bytes` is how much of the head and of the tail of the
    output is kept.
    """

    name: str
    summary: str = ""
    argv: tuple[str, ...] = ()
    shell: str = ""
    parameters: tuple[Parameter, ...] = ()
    subject: str = ""
    overlap: bool = False
    success: tuple[int, ...] = (0,)
    progress: str = ""
    scratch: bool = False
    contain: bool = False
    silence: str = ""
    cwd: str = ""
    env: dict[str, str] = field(default_factory=dict)
    separate_stderr: bool = False
    limits: Limits = Limits()
    keep_bytes: tuple[int, int] = (4 * 2**20, 12 * 2**20)

    def parameter(self, name: str) -> Parameter | None:
        return next((each for each in self.parameters if each.name == name), None)
