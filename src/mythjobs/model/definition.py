"""From a definition (the tables of a TOML file) to a Command, or to the error that says where."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from mythjobs.errors import DefinitionError
from mythjobs.model import command as c
from mythjobs.model.arguments import check_value
from mythjobs.model.limits import Limits
from mythjobs.model.progress import PRESETS
from mythjobs.model.template import Template, TemplateError, shell_placeholder
from mythjobs.model.units import duration_s, size_bytes

# What the design names and this version does not do yet. It is refused, never accepted and
# ignored: an owner who wrote a limit must be able to rely on it.
_LATER: Final = {
    "retry": "retries are not available in this version",
    "windows": "run windows are not available in this version",
    "semaphores": "semaphores are not available in this version",
    "lease": "leases that end are not available in this version; a silent machine is waited for",
}
_LATER_LIMITS: Final = ("cpu", "idle", "memory", "processes")
_KEYS: Final = (
    "name", "summary", "argv", "shell", "parameters", "subject", "overlap", "success", "progress",
    "scratch", "contain", "silence", "cwd", "env", "stderr", "limits", "output",
)  # fmt: skip
_PARAMETER_KEYS: Final = ("name", "type", "values", "default", "required", "help", "dash")
_ENV_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

Table = Mapping[str, object]


def command_from(table: Table) -> c.Command:
    """Raises DefinitionError, which names the key, for anything but a whole and right one."""
    for key in table:
        if key in _LATER:
            raise DefinitionError(key, f"{_LATER[key]}; leave it out")
        if key not in _KEYS:
            raise DefinitionError(key, f"unknown key; known are {', '.join(_KEYS)}")
    parameters = _parameters(table.get("parameters", []))
    argv, shell = _program(table, parameters)
    command = c.Command(
        name=_name(table),
        summary=_text(table, "summary"),
        argv=argv,
        shell=shell,
        parameters=parameters,
        subject=_template(_text(table, "subject"), "subject", parameters),
        overlap=_flag(table, "overlap"),
        success=_success(table.get("success", [0])),
        progress=_progress(table.get("progress", "")),
        scratch=_flag(table, "scratch"),
        contain=_contain(table),
        silence=_silence(table),
        cwd=_cwd(table),
        env=_env(table.get("env", {})),
        separate_stderr=_stderr(table),
        limits=_limits(table.get("limits", {})),
        keep_bytes=_output(table.get("output", {})),
    )
    return command


def _text(table: Table, key: str, default: str = "") -> str:
    value = table.get(key, default)
    if not isinstance(value, str):
        raise DefinitionError(key, f'must be text in quotes, like {key} = "…"')
    if "\0" in value:
        raise DefinitionError(key, "must not have a NUL character")
    return value


def _flag(table: Table, key: str, prefix: str = "") -> bool:
    value = table.get(key, False)
    if not isinstance(value, bool):
        raise DefinitionError(prefix + key, "must be true or false")
    return value


def _name(table: Table) -> str:
    name = _text(table, "name")
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
        return (), _shell(_text(table, "shell"), parameters)
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
        name, kind, tuple(values), default, required, _flag(table, "dash", f"{key}."), help_
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
            groups = re.compile(pattern).groups
        except re.error as error:
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


def _contain(table: Table) -> bool:
    if _flag(table, "contain"):
        raise DefinitionError("contain", "cgroups are not available in this version; leave it out")
    return False


def _silence(table: Table) -> str:
    silence = _text(table, "silence")
    if silence not in ("", "keep"):
        raise DefinitionError("silence", 'only "keep" is available in this version')
    return silence


def _stderr(table: Table) -> bool:
    value = _text(table, "stderr", "merged")
    if value not in ("merged", "separate"):
        raise DefinitionError("stderr", 'must be "merged" (in order with stdout) or "separate"')
    return value == "separate"


def _cwd(table: Table) -> str:
    cwd = _text(table, "cwd")
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


def _limits(value: object) -> Limits:
    if not isinstance(value, dict):
        raise DefinitionError("limits", 'must be a table, like [limits] with wall = "6h"')
    for key in value:
        if key in _LATER_LIMITS:
            raise DefinitionError(f"limits.{key}", "is not available in this version; leave it out")
        if key not in ("wall", "grace"):
            raise DefinitionError(f"limits.{key}", "unknown key; known are wall, grace")
    wall = _duration(value, "wall")
    grace = _duration(value, "grace")
    return Limits(wall_s=wall) if grace is None else Limits(wall_s=wall, grace_s=grace)


def _duration(table: Table, key: str) -> float | None:
    if key not in table:
        return None
    try:
        seconds = duration_s(str(table[key]))
    except ValueError as error:
        raise DefinitionError(f"limits.{key}", str(error)) from None
    if seconds <= 0:
        raise DefinitionError(f"limits.{key}", "must be longer than nothing")
    return seconds


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
