"""Types of command line options: names with completion, `name=value`, `JOB:any`, times, sizes."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import click
from click.core import ParameterSource

from mythjobs import clock
from mythjobs.cli.session import Session
from mythjobs.cli.times import parse_instant_ms, parse_past_ms
from mythjobs.client.client import Json
from mythjobs.errors import BadRequest, MythJobsError, machine_not_found
from mythjobs.model.life import JobState
from mythjobs.model.names import check_machine_name, describe_invalid_label, is_label
from mythjobs.model.units import parse_duration, parse_size

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

# Longest duration that is accepted: longer ones in milliseconds do not fit into 64 bits.
_MAX_DURATION_S: Final = 2.0**53
_COMPLETION_TIMEOUT_S: Final = 1.0
# Most jobs that a range like 10-20 may have: as many as the master accepts in one request.
_MAX_RANGE: Final = 10_000
_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,30}")
_NUMBER: Final = re.compile(r"[+-]?[0-9]{1,30}(\.[0-9]{1,30})?")
_WHEN: Final = {"": "ok", "ok": "ok", "any": "any", "failure": "failure"}

Context = click.Context | None
Parameter = click.Parameter | None
Pairs = tuple[tuple[str, Any], ...]


def decode_argument(given: str) -> str:
    """Return the text whose UTF-8 bytes were given on the command line, in any locale.

    Raises ValueError with a text to print after the argument's name, like `is not valid UTF-8`.
    """
    try:
        return os.fsencode(given).decode("utf-8")
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise ValueError(f"is not valid UTF-8 (byte {error.start + 1} is 0x{byte:02x})") from None
    except UnicodeEncodeError:  # a surrogate that does not stand for a byte
        raise ValueError("is not valid Unicode") from None


class TextType(click.ParamType[str]):
    """Option value that is UTF-8 text, passed to the master byte for byte."""

    name = "text"

    def __init__(self, label: str = "the value") -> None:
        self._label = label

    def convert(self, value: Any, param: Parameter, context: Context) -> str:
        try:
            return decode_argument(value)
        except ValueError as error:
            self.fail(f"{self._label} {error}", param, context)


class NameType(TextType):
    """Name of an item of an API collection, of which `detail` is a field shown in completions."""

    def __init__(self, name: str, collection: str, detail: str) -> None:
        super().__init__()
        self.name = name
        self._collection = collection
        self._detail = detail

    def shell_complete(
        self, context: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        found = _query(context, self._collection)
        return _complete([(each["name"], str(each[self._detail])) for each in found], incomplete)


class MachineNameType(NameType):
    def convert(
        self, value: Any, param: click.Parameter | None, context: click.Context | None
    ) -> str:
        text = str(super().convert(value, param, context))
        # An empty variable of a script must not mean "any machine", which is the default.
        if not text and context is not None and isinstance(param, click.Option):
            if context.get_parameter_source(str(param.name)) is ParameterSource.COMMANDLINE:
                raise machine_not_found(text)
        return text


class NewMachineNameType(TextType):
    """Name for a machine, checked here: its agent would be refused again and again."""

    name = "text"

    def convert(self, value: Any, param: Parameter, context: Context) -> str:
        text = str(super().convert(value, param, context))
        try:
            check_machine_name(text)
        except BadRequest as error:
            self.fail(error.sentence, param, context)
        return text


class IntegerType(click.IntRange):
    """Whole number in digits 0 to 9: int() accepts 1_0, and the digits of all scripts."""

    def convert(self, value: Any, param: Parameter, context: Context) -> int:
        if isinstance(value, str) and not _INTEGER.fullmatch(value):
            self.fail(f"{value!r} is not a whole number", param, context)
        return int(super().convert(value, param, context))


class NumberType(click.FloatRange):
    """Number in digits 0 to 9: float() accepts the digits of all scripts."""

    def convert(self, value: Any, param: Parameter, context: Context) -> float:
        if isinstance(value, str) and not _NUMBER.fullmatch(value):
            self.fail(f"{value!r} is not a number", param, context)
        return float(super().convert(value, param, context))


class JobIdType(IntegerType):
    name = "job"

    def __init__(self) -> None:
        super().__init__(min=1)

    def convert(self, value: Any, param: Parameter, context: Context) -> Any:
        if isinstance(value, str) and not (value.isascii() and value.isdecimal()):
            self.fail(f'"{value}" is not the id of a job, which is a whole number', param, context)
        return super().convert(value, param, context)

    def shell_complete(
        self, context: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        found = _query(context, "jobs")
        return _complete(
            [(str(each["id"]), f"{each['command']} {each['state']}") for each in found], incomplete
        )


class JobRangeType(JobIdType):
    """Job ids: `42`, all from `10-20`, or a list like `7,10-20`. The value is a tuple."""

    def convert(self, value: Any, param: Parameter, context: Context) -> Any:
        if isinstance(value, tuple):
            return value
        parts = value.split(",")
        return tuple(each for part in parts for each in self._read_range(part, param, context))

    def _read_range(self, value: str, param: Parameter, context: Context) -> tuple[int, ...]:
        first, dash, last = value.partition("-")
        if not (first and dash and last):
            return (super().convert(value, param, context),)
        begin, end = (JOB.convert(each, param, context) for each in (first, last))
        if end < begin:
            self.fail(f'"{value}" ends before it begins', param, context)
        if end - begin >= _MAX_RANGE:
            self.fail(f'"{value}" has more than {_MAX_RANGE} jobs', param, context)
        return tuple(range(begin, end + 1))


def join_ranges(
    context: click.Context, option: click.Parameter, given: tuple[tuple[int, ...], ...]
) -> tuple[int, ...]:
    """Return the ids of all ranges, each once. Callback of click for arguments of JOB_RANGE."""
    return tuple(dict.fromkeys(each for ids in given for each in ids))


def _query(context: click.Context, collection: str) -> list[Json]:
    """Return the items of an API collection for completion; none if the master is unreachable.

    Errors are ignored, because their text appears in the line that the user is typing.
    """
    try:
        client = context.ensure_object(Session).client()
        found = client.get(collection, timeout_s=_COMPLETION_TIMEOUT_S)
    except MythJobsError:
        return []
    return list(found.get(collection, ()))


def _complete(choices: list[tuple[str, str]], incomplete: str) -> list[CompletionItem]:
    from click.shell_completion import CompletionItem

    return [
        CompletionItem(value, help=text) for value, text in choices if value.startswith(incomplete)
    ]


class ArgumentType(click.ParamType[tuple[str, str]]):
    """Argument of a command: `name=value`; the value is any text and may be empty."""

    name = "argument"

    def convert(self, value: Any, param: Parameter, context: Context) -> tuple[str, str]:
        key, equals, text = value.partition("=")
        if not equals or not key:
            self.fail(f'"{value}" must be name=value', param, context)
        name = TextType().convert(key, param, context)
        return name, TextType(f'"{key}"').convert(text, param, context)


class DependencyType(click.ParamType[Json]):
    """Dependency on the success, end or failure of a job: `42`, `42:any`, `42:failure`."""

    name = "dependency"

    def convert(self, value: Any, param: Parameter, context: Context) -> Json:
        job, _, when = value.partition(":")
        if not (job.isascii() and job.isdecimal() and int(job)) or when not in _WHEN:
            self.fail(f'"{value}" must be like 42, 42:any or 42:failure', param, context)
        return {"job": int(job), "when": _WHEN[when]}

    def shell_complete(
        self, context: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        return JOB.shell_complete(context, param, incomplete)


class TimeType(click.ParamType[int]):
    """Time that `parse`, a function of times.py, reads from the text and the present."""

    name = "time"

    def __init__(self, parse: Callable[[str, int], int]) -> None:
        self._parse = parse

    def convert(self, value: Any, param: Parameter, context: Context) -> int:
        try:
            return self._parse(value, clock.master_now().wall_ms)
        except ValueError as error:
            self.fail(str(error), param, context)


class DurationType(click.ParamType[float]):
    name = "duration"

    def convert(self, value: Any, param: Parameter, context: Context) -> float:
        if isinstance(value, float):
            return value
        try:
            seconds = parse_duration(value)
        except ValueError as error:
            self.fail(str(error), param, context)
        if seconds <= 0:
            self.fail("must be longer than 0", param, context)
        if seconds > _MAX_DURATION_S:
            self.fail(f'"{value}" is too long', param, context)
        return seconds


class SizeType(click.ParamType[str]):
    """Size like `2GiB`, checked here and passed to the master as text."""

    name = "size"

    def convert(self, value: Any, param: Parameter, context: Context) -> str:
        try:
            parse_size(value)
        except ValueError as error:
            self.fail(str(error), param, context)
        return str(value)


class LabelType(TextType):
    name = "label"

    def convert(self, value: Any, param: Parameter, context: Context) -> str:
        text = str(super().convert(value, param, context))
        if not is_label(text):
            self.fail(describe_invalid_label(text), param, context)
        return text


class UnitsType(click.ParamType[tuple[str, int]]):
    """Units of a semaphore: `nas=2`; `nas` is one unit."""

    name = "units"

    def convert(self, value: Any, param: Parameter, context: Context) -> tuple[str, int]:
        key, equals, count = value.partition("=")
        if not key or (equals and not (_is_number(count) and int(count))):
            self.fail(f'"{value}" must be like nas or nas=2', param, context)
        return TextType().convert(key, param, context), int(count or 1)

    def shell_complete(
        self, context: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        return SEMAPHORE.shell_complete(context, param, incomplete)


class LimitType(click.ParamType[tuple[str, "str | int"]]):
    """Limit as in [limits] of a definition: `wall=6h`, `memory=2GiB`, `processes=100`."""

    name = "limit"

    def convert(self, value: Any, param: Parameter, context: Context) -> tuple[str, str | int]:
        key, _, given = value.partition("=")
        if not key or not given:
            self.fail(f'"{value}" must be like wall=6h or memory=2GiB', param, context)
        text = TextType(f'"{key}"').convert(given, param, context)
        return TextType().convert(key, param, context), int(text) if _is_number(text) else text


class StatesType(click.ParamType[tuple[str, ...]]):
    """Job states, separated by commas: `queued,running`."""

    name = "states"

    def convert(self, value: Any, param: Parameter, context: Context) -> tuple[str, ...]:
        if isinstance(value, tuple):
            return value
        states = tuple(each.strip() for each in value.split(","))
        for state in states:
            if state not in tuple(JobState):
                from mythjobs.cli.other_names import describe_unknown_state

                self.fail(describe_unknown_state(state), param, context)
        return states

    def shell_complete(
        self, context: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        given, comma, _ = incomplete.rpartition(",")
        return _complete([(f"{given}{comma}{each}", "") for each in JobState], incomplete)


class CeilingType(click.ParamType["int | str"]):
    """Maximum number of jobs at once, or `auto` for none."""

    name = "integer"

    def convert(self, value: Any, param: Parameter, context: Context) -> int | str:
        if value == "auto":
            return "auto"
        from mythjobs.model.machine_policy import MAX_JOBS

        return IntegerType(0, MAX_JOBS).convert(value, param, context)


def refuse_duplicates(context: click.Context, option: Parameter, given: Pairs) -> Pairs:
    """Refuse a name that is given twice. Callback of click for options like `name=value`."""
    names = [name for name, _ in given]
    for name in names:
        if names.count(name) > 1:
            raise click.BadParameter(f'"{name}" is given twice', context, option)
    return given


def find_end_ms(for_s: float | None, until_ms: int | None) -> int | None:
    """Return the end that --for or --until gives, None if neither does. Raises click.UsageError if
    both do."""
    if for_s is None:
        return until_ms
    if until_ms is not None:
        raise click.UsageError("give either --for or --until", click.get_current_context())
    return clock.master_now().wall_ms + round(1000 * for_s)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 19


TEXT: Final = TextType()
COMMAND: Final = NameType("command", "commands", "summary")
MACHINE: Final = MachineNameType("machine", "machines", "state")
NEW_MACHINE: Final = NewMachineNameType()
SCHEDULE: Final = NameType("schedule", "schedules", "summary")
SEMAPHORE: Final = NameType("semaphore", "semaphores", "size")
CHANNEL: Final = NameType("channel", "channels", "url")
JOB: Final = JobIdType()
JOB_RANGE: Final = JobRangeType()
PARAMETER: Final = ArgumentType()
AFTER: Final = DependencyType()
INSTANT: Final = TimeType(parse_instant_ms)
PAST: Final = TimeType(parse_past_ms)
DURATION: Final = DurationType()
SIZE: Final = SizeType()
LABEL: Final = LabelType()
UNITS: Final = UnitsType()
LIMIT: Final = LimitType()
STATES: Final = StatesType()
CEILING: Final = CeilingType()
