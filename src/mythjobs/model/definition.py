"""From a definition (the tables of a TOML file) to a Command, or to the error that says where."""

from __future__ import annotations

import math
import re
from typing import Final

from mythjobs.errors import DefinitionError
from mythjobs.model import command as c
from mythjobs.model import toml_values as r
from mythjobs.model.arguments import check_value
from mythjobs.model.bounds import TREE
from mythjobs.model.policy_tables import (
    BREACHES,
    read_bounds,
    read_labels,
    read_retry,
    read_semaphores,
    read_windows,
)
from mythjobs.model.progress import PRESETS
from mythjobs.model.template import Template, TemplateError, shell_placeholder
from mythjobs.model.toml_values import Table
from mythjobs.model.units import size_bytes

_KEYS: Final = (
    "name", "summary", "argv", "shell", "parameters", "subject", "overlap", "success", "progress",
    "scratch", "contain", "best_effort", "leave_daemons", "silence", "lease", "cwd", "env",
    "stderr", "limits", "output", "retry", "windows", "semaphores", "labels", "at_most",
)  # fmt: skip
_PARAMETER_KEYS: Final = ("name", "type", "values", "default", "required", "help", "dash")
_ENV_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def command_from(table: Table) -> c.Command:
    """Raises DefinitionError, which names the key, for anything but a whole and right one."""
    for key in table:
        if key not in _KEYS:
            raise DefinitionError(key, f"unknown key; known are {', '.join(_KEYS)}")
    parameters = _parameters(table.get("parameters", []))
    bounds = read_bounds(table.get("limits", {}), extra=("on_breach",))
    argv, shell = _program(table, parameters)
    command = c.Command(
        name=_name(table),
        summary=r.text(table, "summary"),
        argv=argv,
        shell=shell,
        parameters=parameters,
        subject=_template(r.text(table, "subject"), "subject", parameters),
        overlap=r.flag(table, "overlap"),
        success=_success(table.get("success", [0])),
        progress=_progress(table.get("progress", "")),
        scratch=r.flag(table, "scratch"),
        contain=r.flag(table, "contain", default=True),
        best_effort=r.flag(table, "best_effort"),
        leave_daemons=r.flag(table, "leave_daemons"),
        silence=r.one_of(table, "silence", c.SILENCES, ""),
        lease_s=_lease(table),
        cwd=_cwd(table),
        env=_env(table.get("env", {})),
        separate_stderr=_stderr(table),
        limits=bounds.limits(),
        nice=bounds.nice or 0,
        io=bounds.io or "",
        on_breach=r.one_of(_limits(table), "on_breach", BREACHES, "", "limits."),
        keep_bytes=_output(table.get("output", {})),
        retry=read_retry(table.get("retry", {})),
        windows=read_windows(table.get("windows", {})),
        semaphores=read_semaphores(table.get("semaphores", {})),
        labels=read_labels(table),
        at_most=r.whole(table, "at_most", 1, 100_000),
    )
    _check_together(table, command)
    return command


def _limits(table: Table) -> Table:
    value = table.get("limits", {})
    return value if isinstance(value, dict) else {}


def _check_together(table: Table, command: c.Command) -> None:
    """Keys that are right each, and contradict each other."""
    if command.lease_s is not None and command.silence not in ("rerun", "hold"):
        raise DefinitionError(
            "lease",
            'a machine acts on its lease only with silence = "rerun" or "hold"; say one of them, '
            "or leave the lease out",
        )
    if not command.contain:
        tree = [each for each in TREE if each in _limits(table)]
        if tree:
            raise DefinitionError(
                "contain",
                f"the limit of {tree[0]} holds for the whole process tree and needs its container; "
                "leave contain = false out",
            )
        if command.windows.closing == "freeze":
            raise DefinitionError(
                "contain", 'closing = "freeze" needs the container; leave contain = false out'
            )
        if command.leave_daemons:
            raise DefinitionError(
                "leave_daemons", "without a container nobody looks for daemons; leave it out"
            )
    if command.on_breach == "retry" and not command.retry.failures:
        raise DefinitionError(
            "limits.on_breach", '"retry" needs [retry] failures = N, how many are run again'
        )


def _name(table: Table) -> str:
    name = r.text(table, "name")
    if not name:
        raise DefinitionError("name", 'is missing; give it one, like name = "transcode-h264"')
    if not c.NAME.fullmatch(name) or len(name) > 100:
        raise DefinitionError(
            "name", f'"{name}" must be small letters and digits, joined by - _ or . (up to 100)'
        )
    if name == c.RUN:
        raise DefinitionError("name", '"run" is the built-in command for ad-hoc jobs; take another')
    return name


def _program(table: Table, parameters: tuple[c.Parameter, ...]) -> tuple[tuple[str, ...], str]:
    if ("argv" in table) == ("shell" in table):
        raise DefinitionError("argv", 'give either argv = ["program", …] or shell = """…"""')
    if "shell" in table:
        return (), _shell(r.text(table, "shell"), parameters)
    argv = table["argv"]
    if not isinstance(argv, list) or not all(isinstance(each, str) for each in argv):
        raise DefinitionError("argv", 'must be a list of texts, like ["ffmpeg", "-i", "{source}"]')
    if not argv or not argv[0]:
        raise DefinitionError("argv", "is empty; its first element is the program to run")
    for number, element in enumerate(argv):
        if "\0" in element:
            raise DefinitionError(f"argv[{number}]", "must not have a NUL character")
        _template(element, f"argv[{number}]", parameters)
    return tuple(argv), ""


def _shell(text: str, parameters: tuple[c.Parameter, ...]) -> str:
    if not text.strip():
        raise DefinitionError("shell", "is empty")
    found = shell_placeholder(text, [each.name for each in parameters])
    if found is not None:
        line, name = found
        raise DefinitionError(
            "shell",
            f"line {line} has {{{name}}}; the text of a shell command is constant, "
            f'write "$MYTHJOBS_P_{name.upper()}" there',
        )
    return text


def _template(text: str, key: str, parameters: tuple[c.Parameter, ...]) -> str:
    try:
        names = Template(text).names
    except TemplateError as error:
        raise DefinitionError(key, str(error)) from None
    for name in names:
        if name not in {each.name for each in parameters}:
            raise DefinitionError(
                key, f"{{{name}}} is no parameter of this command; declare it, or write {{{{ }}}}"
            )
    return text


def _parameters(value: object) -> tuple[c.Parameter, ...]:
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise DefinitionError("parameters", "must be tables, each headed [[parameters]]")
    found: dict[str, c.Parameter] = {}
    for number, table in enumerate(value, start=1):
        parameter = _parameter(table, f"parameters[{number}]")
        if parameter.name in found:
            raise DefinitionError(f"parameters[{number}].name", f'"{parameter.name}" stands twice')
        found[parameter.name] = parameter
    return tuple(found.values())


def _parameter(table: Table, key: str) -> c.Parameter:
    for each in table:
        if each not in _PARAMETER_KEYS:
            known = ", ".join(_PARAMETER_KEYS)
            raise DefinitionError(f"{key}.{each}", f"unknown key; known are {known}")
    name = table.get("name")
    if not isinstance(name, str) or not c.PARAMETER_NAME.fullmatch(name):
        raise DefinitionError(f"{key}.name", "must be small letters, digits and _, letter first")
    key = f"parameters.{name}"
    try:
        kind = c.ParameterType(table.get("type", "text"))  # type: ignore[arg-type]
    except ValueError:
        raise DefinitionError(
            f"{key}.type", f"must be one of {', '.join(c.ParameterType)}"
        ) from None
    values = table.get("values", [])
    if not isinstance(values, list) or not all(isinstance(each, str) for each in values):
        raise DefinitionError(f"{key}.values", "must be a list of texts")
    if bool(values) != (kind is c.ParameterType.ENUM):
        raise DefinitionError(f"{key}.values", "belongs to type enum, which needs at least one")
    default = table.get("default")
    if default is not None:
        if isinstance(default, bool) or not isinstance(default, str | int | float):
            raise DefinitionError(f"{key}.default", "must be a text or a number")
        default = str(default)
    required = table.get("required", default is None)
    if not isinstance(required, bool) or (required and default is not None):
        raise DefinitionError(f"{key}.required", "must be true or false, and false with a default")
    help_ = table.get("help", "")
    if not isinstance(help_, str):
        raise DefinitionError(f"{key}.help", "must be text")
    parameter = c.Parameter(
        name, kind, tuple(values), default, required, r.flag(table, "dash", f"{key}."), help_
    )
    if default is not None:
        try:
            check_value(parameter, default)
        except ValueError as error:
            raise DefinitionError(f"{key}.default", str(error)) from None
    return parameter


def _success(value: object) -> tuple[int, ...]:
    codes = value if isinstance(value, list) else []
    if not codes or not all(type(each) is int and 0 <= each <= 255 for each in codes):
        raise DefinitionError("success", "must be a list of exit codes from 0 to 255, like [0]")
    return tuple(sorted(set(codes)))


def _progress(value: object) -> str:
    if isinstance(value, dict):
        pattern = value.get("regex")
        if set(value) != {"regex"} or not isinstance(pattern, str):
            raise DefinitionError("progress", "as a table is { regex = '…' }")
        try:
            # As it is used: on the bytes of the output, of which \u and \N name none.
            groups = re.compile(pattern.encode()).groups
        except (re.error, UnicodeEncodeError) as error:
            raise DefinitionError(
                "progress.regex", f"is not a regular expression: {error}"
            ) from None
        if groups < 1:
            raise DefinitionError("progress.regex", "needs a group () around the percentage")
        return "regex:" + pattern
    if not isinstance(value, str) or (value and value not in PRESETS):
        raise DefinitionError(
            "progress", f"must be one of {', '.join(PRESETS)}, or {{ regex = '…' }}"
        )
    return value


def _lease(table: Table) -> float | None:
    if table.get("lease") == "forever":
        return math.inf
    return r.duration(table, "lease", least_s=c.LEAST_LEASE_S)


def _stderr(table: Table) -> bool:
    value = r.text(table, "stderr", "merged")
    if value not in ("merged", "separate"):
        raise DefinitionError("stderr", 'must be "merged" (in order with stdout) or "separate"')
    return value == "separate"


def _cwd(table: Table) -> str:
    cwd = r.text(table, "cwd")
    if cwd and not cwd.startswith("/"):
        raise DefinitionError("cwd", "must be an absolute path")
    return cwd


def _env(value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        raise DefinitionError("env", 'must be a table, like [env] with LANG = "C.UTF-8"')
    for name, text in value.items():
        if not _ENV_NAME.fullmatch(name) or name.startswith("MYTHJOBS_"):
            raise DefinitionError(f"env.{name}", "is no name that may be set here")
        if not isinstance(text, str) or "\0" in text:
            raise DefinitionError(f"env.{name}", "must be text without NUL")
    return dict(value)


def _output(value: object) -> tuple[int, int]:
    head, tail = c.Command("x").keep_bytes
    if not isinstance(value, dict) or not set(value) <= {"head", "tail"}:
        raise DefinitionError("output", 'is a table of head and tail, like head = "4MiB"')
    try:
        head = size_bytes(str(value["head"])) if "head" in value else head
        tail = size_bytes(str(value["tail"])) if "tail" in value else tail
    except ValueError as error:
        raise DefinitionError("output", str(error)) from None
    if not 0 < head <= 2**30 or not 0 < tail <= 2**30:
        raise DefinitionError("output", "head and tail are each 1 byte to 1 GiB")
    return head, tail
