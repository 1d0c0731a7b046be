"""Parser of command definitions: TOML tables to a Command, or an error that names the key."""

from __future__ import annotations

import math
from typing import Final

from mythjobs.errors import DefinitionError
from mythjobs.model import command as c
from mythjobs.model import names
from mythjobs.model import toml_values as toml
from mythjobs.model.arguments import check_value
from mythjobs.model.bounds import TREE_LIMITS
from mythjobs.model.notify_policy import read_notify_policy
from mythjobs.model.policy_tables import (
    BREACH_ACTIONS,
    read_bounds,
    read_labels,
    read_retry,
    read_semaphores,
    read_windows,
)
from mythjobs.model.progress import PRESETS, check_regex
from mythjobs.model.retention import read_retention
from mythjobs.model.silence import LEASED_POLICIES, SILENCE_POLICIES
from mythjobs.model.template import Template, TemplateError, shell_placeholder
from mythjobs.model.units import parse_size

_KEYS: Final = (
    "name", "summary", "argv", "shell", "parameters", "subject", "overlap", "success", "progress",
    "scratch", "contain", "best_effort", "leave_daemons", "silence", "lease", "cwd", "stdin", "env",
    "stderr", "limits", "output", "retry", "windows", "semaphores", "labels", "at_most",
    "retention", "notify", "heartbeat",
)  # fmt: skip
_PARAMETER_KEYS: Final = ("name", "type", "values", "default", "required", "help", "dash", "exists")


def command_from_table(table: toml.Table) -> c.Command:
    """Parse a command definition. Raises DefinitionError, which names the invalid key."""
    for key in table:
        if key not in _KEYS:
            raise DefinitionError(key, f"unknown key; known are {', '.join(_KEYS)}")
    parameters = _parse_parameters(table.get("parameters", []))
    limits = _limits_table(table)
    bounds = read_bounds(table.get("limits", {}), extra=("on_breach",))
    argv, shell = _parse_program(table, parameters)
    command = c.Command(
        name=_parse_name(table),
        summary=toml.read_text(table, "summary"),
        argv=argv,
        shell=shell,
        parameters=parameters,
        subject=_check_template(toml.read_text(table, "subject"), "subject", parameters),
        overlap=toml.read_bool(table, "overlap"),
        success=_parse_success(table.get("success", [0])),
        progress=_parse_progress(table.get("progress", "")),
        scratch=toml.read_bool(table, "scratch"),
        contain=toml.read_bool(table, "contain", default=True),
        best_effort=toml.read_bool(table, "best_effort"),
        leave_daemons=toml.read_bool(table, "leave_daemons"),
        silence=toml.read_choice(table, "silence", SILENCE_POLICIES, ""),
        lease_s=_parse_lease(table),
        cwd=_parse_cwd(table),
        stdin=_parse_stdin(table, parameters),
        env=_parse_env(table.get("env", {})),
        separate_stderr=_parse_stderr(table),
        limits=bounds.limits(),
        nice=bounds.nice,
        io=bounds.io or "",
        on_breach=toml.read_choice(limits, "on_breach", BREACH_ACTIONS, "", "limits."),
        keep_bytes=_parse_output(table.get("output", {})),
        retry=read_retry(table.get("retry", {})),
        windows=read_windows(table.get("windows", {})),
        semaphores=read_semaphores(table.get("semaphores", {})),
        labels=read_labels(table),
        at_most=toml.read_int(table, "at_most", 1, 100_000),
        retention=read_retention(table.get("retention", {})),
        notify=read_notify_policy(table),
    )
    _check_consistency(table, command)
    return command


def _limits_table(table: toml.Table) -> toml.Table:
    value = table.get("limits", {})
    return value if isinstance(value, dict) else {}


def _check_consistency(table: toml.Table, command: c.Command) -> None:
    """Raise DefinitionError for keys that are valid alone but contradict each other."""
    if command.lease_s is not None and command.silence not in LEASED_POLICIES:
        raise DefinitionError(
            "lease", 'needs silence = "rerun" or "hold"; set one of them, or remove lease'
        )
    if not command.contain:
        tree = [each for each in TREE_LIMITS if each in _limits_table(table)]
        if tree:
            raise DefinitionError(
                "contain",
                f"the limit {tree[0]} applies to the process tree, which needs a cgroup; remove "
                "contain = false",
            )
        if command.windows.closing == "freeze":
            raise DefinitionError(
                "contain", 'closing = "freeze" needs a cgroup; remove contain = false'
            )
    if command.on_breach == "retry" and not command.retry.failures:
        raise DefinitionError(
            "limits.on_breach", '"retry" needs [retry] failures = N, the number of retries'
        )


def _parse_name(table: toml.Table) -> str:
    name = toml.read_text(table, "name")
    if not name:
        raise DefinitionError("name", 'is missing; add it, like name = "transcode-h264"')
    if not names.is_short_name(name):
        syntax = f"{names.NAME_SYNTAX} (up to {names.MAX_NAME_LENGTH} characters)"
        raise DefinitionError("name", f'"{name}" is invalid; use {syntax}')
    if name == c.RUN:
        raise DefinitionError("name", '"run" is a built-in command; choose another name')
    return name


def _parse_program(
    table: toml.Table, parameters: tuple[c.Parameter, ...]
) -> tuple[tuple[str, ...], str]:
    if ("argv" in table) == ("shell" in table):
        raise DefinitionError("argv", 'give either argv = ["program", …] or shell = """…"""')
    if "shell" in table:
        return (), _check_shell(toml.read_text(table, "shell"), parameters)
    argv = table["argv"]
    if not isinstance(argv, list) or not all(isinstance(each, str) for each in argv):
        raise DefinitionError("argv", 'must be a list of strings, like ["ffmpeg", "{source}"]')
    if not argv or not argv[0]:
        raise DefinitionError("argv", "is empty; its first element is the program to run")
    for number, element in enumerate(argv):
        if "\0" in element:
            raise DefinitionError(f"argv[{number}]", "must not have a NUL character")
        _check_template(element, f"argv[{number}]", parameters)
    return tuple(argv), ""


def _check_shell(text: str, parameters: tuple[c.Parameter, ...]) -> str:
    if not text.strip():
        raise DefinitionError("shell", "is empty")
    found = shell_placeholder(text, [each.name for each in parameters])
    if found is not None:
        line, name = found
        raise DefinitionError(
            "shell",
            f"line {line} has {{{name}}}; shell text is not a template, "
            f'write "$MYTHJOBS_P_{name.upper()}" instead',
        )
    return text


def _check_template(text: str, key: str, parameters: tuple[c.Parameter, ...]) -> str:
    try:
        placeholders = Template(text).names
    except TemplateError as error:
        raise DefinitionError(key, str(error)) from None
    for name in placeholders:
        if name not in {each.name for each in parameters}:
            raise DefinitionError(
                key, f"{{{name}}} is not a declared parameter; declare it, or write {{{{ }}}}"
            )
    return text


def _parse_parameters(value: object) -> tuple[c.Parameter, ...]:
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise DefinitionError("parameters", "must be tables with the header [[parameters]]")
    found: dict[str, c.Parameter] = {}
    for number, table in enumerate(value, start=1):
        parameter = _parse_parameter(table, f"parameters[{number}]")
        if parameter.name in found:
            raise DefinitionError(f"parameters[{number}].name", f'"{parameter.name}" is repeated')
        found[parameter.name] = parameter
    return tuple(found.values())


def _parse_parameter(table: toml.Table, key: str) -> c.Parameter:
    for each in table:
        if each not in _PARAMETER_KEYS:
            known = ", ".join(_PARAMETER_KEYS)
            raise DefinitionError(f"{key}.{each}", f"unknown key; known are {known}")
    name = table.get("name")
    if not isinstance(name, str) or not names.PARAMETER_NAME.fullmatch(name):
        raise DefinitionError(f"{key}.name", f"must match {names.PARAMETER_NAME.pattern}")
    key = f"parameters.{name}"
    try:
        kind = c.ParameterType(table.get("type", "text"))  # type: ignore[arg-type]
    except ValueError:
        raise DefinitionError(
            f"{key}.type", f"must be one of {', '.join(c.ParameterType)}"
        ) from None
    values = table.get("values", [])
    if not isinstance(values, list) or not all(isinstance(each, str) for each in values):
        raise DefinitionError(f"{key}.values", "must be a list of strings")
    if bool(values) != (kind is c.ParameterType.ENUM):
        raise DefinitionError(f"{key}.values", "is for type enum, and required there")
    default = table.get("default")
    if default is not None:
        if isinstance(default, bool) or not isinstance(default, str | int | float):
            raise DefinitionError(f"{key}.default", "must be text or a number")
        default = str(default)
    required = table.get("required", default is None)
    if not isinstance(required, bool) or (required and default is not None):
        raise DefinitionError(f"{key}.required", "must be true or false, and false with a default")
    help_ = table.get("help", "")
    if not isinstance(help_, str):
        raise DefinitionError(f"{key}.help", "must be text")
    dash = toml.read_bool(table, "dash", f"{key}.")
    exists = toml.read_bool(table, "exists", f"{key}.")
    if exists and kind is not c.ParameterType.PATH:
        raise DefinitionError(f"{key}.exists", "is for type path")
    parameter = c.Parameter(name, kind, tuple(values), default, required, dash, help_, exists)
    if default is not None:
        try:
            check_value(parameter, default)
        except ValueError as error:
            raise DefinitionError(f"{key}.default", str(error)) from None
    return parameter


def _parse_success(value: object) -> tuple[int, ...]:
    codes = value if isinstance(value, list) else []
    if not codes or not all(type(each) is int and 0 <= each <= 255 for each in codes):
        raise DefinitionError("success", "must be a list of exit codes from 0 to 255, like [0]")
    return tuple(sorted(set(codes)))


def _parse_progress(value: object) -> str:
    if isinstance(value, dict):
        pattern = value.get("regex")
        if set(value) != {"regex"} or not isinstance(pattern, str):
            raise DefinitionError("progress", "as a table is { regex = '…' }")
        try:
            check_regex(pattern)
        except ValueError as error:
            raise DefinitionError("progress.regex", str(error)) from None
        return "regex:" + pattern
    if not isinstance(value, str) or (value and value not in PRESETS):
        raise DefinitionError(
            "progress", f"must be one of {', '.join(PRESETS)}, or {{ regex = '…' }}"
        )
    return value


def _parse_lease(table: toml.Table) -> float | None:
    if table.get("lease") == "forever":
        return math.inf
    return toml.read_duration(table, "lease", least_s=c.MIN_LEASE_S)


def _parse_stderr(table: toml.Table) -> bool:
    value = toml.read_text(table, "stderr", "merged")
    if value not in ("merged", "separate"):
        raise DefinitionError("stderr", 'must be "merged" (in order with stdout) or "separate"')
    return value == "separate"


def _parse_cwd(table: toml.Table) -> str:
    cwd = toml.read_text(table, "cwd")
    if cwd and not cwd.startswith("/"):
        raise DefinitionError("cwd", "must be an absolute path")
    return cwd


def _parse_stdin(table: toml.Table, parameters: tuple[c.Parameter, ...]) -> str:
    stdin = _check_template(toml.read_text(table, "stdin"), "stdin", parameters)
    # Refuse a relative path without `cwd`: the working directory is then / or an empty scratch
    # directory.
    if stdin and not stdin.startswith(("/", "{")) and not table.get("cwd"):
        raise DefinitionError(
            "stdin",
            f'"{stdin}" is relative to the working directory; set cwd, or give an absolute path',
        )
    return stdin


def _parse_env(value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        raise DefinitionError("env", 'must be a table, like [env] with LANG = "C.UTF-8"')
    for name, text in value.items():
        if not names.ENVIRONMENT_NAME.fullmatch(name) or name.startswith("MYTHJOBS_"):
            raise DefinitionError(f"env.{name}", "is not a variable name that may be set here")
        if not isinstance(text, str) or "\0" in text:
            raise DefinitionError(f"env.{name}", "must be text without NUL")
    return dict(value)


def _parse_output(value: object) -> tuple[int, int]:
    head, tail = c.Command("x").keep_bytes
    if not isinstance(value, dict) or not set(value) <= {"head", "tail"}:
        raise DefinitionError("output", 'is a table of head and tail, like head = "4MiB"')
    try:
        head = parse_size(str(value["head"])) if "head" in value else head
        tail = parse_size(str(value["tail"])) if "tail" in value else tail
    except ValueError as error:
        raise DefinitionError("output", str(error)) from None
    if not 0 < head <= 2**30 or not 0 < tail <= 2**30:
        raise DefinitionError("output", "head and tail are each 1 byte to 1 GiB")
    return head, tail
