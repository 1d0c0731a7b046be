"""Command: a named command line with typed parameters, as its author defined it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from mythjobs.model.limits import Limits
from mythjobs.model.notify_policy import NO_NOTIFY_POLICY, NotifyPolicy
from mythjobs.model.policy_tables import Retry, Windows
from mythjobs.model.retention import Retention

# Name of the built-in command of `mythjobs run`. argv, environment and directory are stored in
# each job instead of the command, so that all ad-hoc runs have the same command.
RUN: Final = "run"

# Shortest lease: a machine needs up to 30 s to terminate a job before its lease expires.
MIN_LEASE_S: Final = 60.0


class ParameterType(StrEnum):
    TEXT = "text"
    INT = "int"
    FLOAT = "float"
    ENUM = "enum"
    PATH = "path"


@dataclass(frozen=True, slots=True)
class Parameter:
    """Parameter of a command. If `default` is None and `required` is true, each job must give a
    value. `dash` allows values that begin with a dash. `exists`: a path that a machine must see
    before a job starts there."""

    name: str
    type: ParameterType = ParameterType.TEXT
    values: tuple[str, ...] = ()
    default: str | None = None
    required: bool = True
    dash: bool = False
    help: str = ""
    exists: bool = False


@dataclass(frozen=True, slots=True)
class Command:
    """One revision of a command. Exactly one of `argv` and `shell` is set.

    progress: a preset (model/progress.py), or `regex:` with a regular expression whose first group
    is a percentage. keep_bytes: bytes of output to keep, head and tail. silence: policy
    (model/silence.py); "" is replaced when a job is leased to a machine. lease_s: None is the
    default, infinity is no expiry. stdin: template of the input file's path, relative to the
    working directory; "" is an empty input. on_breach: "" treats a limit breach like any other
    failure. best_effort: accept limits that a machine can enforce only by sampling. at_most:
    maximum number of running jobs, over all machines. nice, io: None and "" leave the priority to
    the machine.
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
    contain: bool = True
    best_effort: bool = False
    leave_daemons: bool = False
    silence: str = ""
    lease_s: float | None = None
    cwd: str = ""
    stdin: str = ""
    env: dict[str, str] = field(default_factory=dict)
    separate_stderr: bool = False
    limits: Limits = Limits()
    nice: int | None = None
    io: str = ""
    on_breach: str = ""
    keep_bytes: tuple[int, int] = (4 * 2**20, 12 * 2**20)
    retry: Retry = Retry()
    windows: Windows = Windows()
    semaphores: tuple[tuple[str, int], ...] = ()
    labels: tuple[str, ...] = ()
    at_most: int | None = None
    retention: Retention = Retention()
    notify: NotifyPolicy = NO_NOTIFY_POLICY

    @property
    def path_names(self) -> list[str]:
        """The names of the parameters whose values are paths."""
        return [each.name for each in self.parameters if each.type is ParameterType.PATH]

    @property
    def input_names(self) -> list[str]:
        """The names of the parameters whose paths a machine must see."""
        return [each.name for each in self.parameters if each.exists]

    def parameter(self, name: str) -> Parameter | None:
        return next((each for each in self.parameters if each.name == name), None)
