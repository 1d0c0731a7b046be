"""Kinds of options that only some commands have: `name=value`, `JOB:any`, times, durations."""

from __future__ import annotations

from typing import Any, Final

import click

from mythjobs import clock
from mythjobs.cli.session import TextType
from mythjobs.cli.times import parse_instant_ms
from mythjobs.client.client import Json
from mythjobs.model.life import JobState
from mythjobs.model.units import parse_duration, parse_size

# More milliseconds than this are no 64-bit number.
_LONGEST_S: Final = 2.0**53
_WHEN: Final = {"": "ok", "ok": "ok", "any": "any", "failure": "failure"}

Context = click.Context | None
Parameter = click.Parameter | None
Pairs = tuple[tuple[str, Any], ...]


class ArgumentType(click.ParamType[tuple[str, str]]):
    """`name=value`; the value is any text, also an empty one."""

    name = "argument"

    def convert(self, value: Any, param: Parameter, context: Context) -> tuple[str, str]:
        key, equals, text = value.partition("=")
        if not equals or not key:
            self.fail(f'"{value}" must be name=value', param, context)
        return TextType().convert(key, param, context), TextType(f'"{key}"').convert(
            text, param, context
        )


class DependencyType(click.ParamType[Json]):
    """`42`, `42:any`, `42:failure`."""

    name = "dependency"

    def convert(self, value: Any, param: Parameter, context: Context) -> Json:
        job, _, when = value.partition(":")
        if not (job.isascii() and job.isdecimal() and int(job)) or when not in _WHEN:
            self.fail(f'"{value}" must be like 42, 42:any or 42:failure', param, context)
        return {"job": int(job), "when": _WHEN[when]}


class InstantType(click.ParamType[int]):
    name = "time"

    def convert(self, value: Any, param: Parameter, context: Context) -> int:
        try:
            return parse_instant_ms(value, clock.master_now().wall_ms)
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
            self.fail("must be longer than nothing", param, context)
        if seconds > _LONGEST_S:
            self.fail(f'"{value}" is too long', param, context)
        return seconds


class SizeType(click.ParamType[str]):
    """`2GiB`; stays as it was written."""

    name = "size"

    def convert(self, value: Any, param: Parameter, context: Context) -> str:
        try:
            parse_size(value)
        except ValueError as error:
            self.fail(str(error), param, context)
        return str(value)


class UnitsType(click.ParamType[tuple[str, int]]):
    """`nas=2`; the name alone is one unit."""

    name = "units"

    def convert(self, value: Any, param: Parameter, context: Context) -> tuple[str, int]:
        key, equals, count = value.partition("=")
        if not key or (equals and not (_is_number(count) and int(count))):
            self.fail(f'"{value}" must be like nas or nas=2', param, context)
        return TextType().convert(key, param, context), int(count or 1)


class LimitType(click.ParamType[tuple[str, "str | int"]]):
    """`wall=6h`, `memory=2GiB`, `processes=100`, as in the [limits] of a definition."""

    name = "limit"

    def convert(self, value: Any, param: Parameter, context: Context) -> tuple[str, str | int]:
        key, _, text = value.partition("=")
        if not key or not text:
            self.fail(f'"{value}" must be like wall=6h or memory=2GiB', param, context)
        said = TextType(f'"{key}"').convert(text, param, context)
        return TextType().convert(key, param, context), int(said) if _is_number(said) else said


class StatesType(click.ParamType[tuple[str, ...]]):
    """`queued,running`."""

    name = "states"

    def convert(self, value: Any, param: Parameter, context: Context) -> tuple[str, ...]:
        if isinstance(value, tuple):
            return value
        words = tuple(word.strip() for word in value.split(","))
        for word in words:
            if word not in tuple(JobState):
                self.fail(f'"{word}" is no state; there are {", ".join(JobState)}', param, context)
        return words


def refuse_duplicates(context: click.Context, option: Parameter, given: Pairs) -> Pairs:
    """A callback of options like `name=value` that may stand several times: each name once."""
    names = [name for name, _ in given]
    for name in names:
        if names.count(name) > 1:
            raise click.BadParameter(f'"{name}" is given twice', context, option)
    return given


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 19


PARAMETER: Final = ArgumentType()
AFTER: Final = DependencyType()
INSTANT: Final = InstantType()
DURATION: Final = DurationType()
SIZE: Final = SizeType()
UNITS: Final = UnitsType()
LIMIT: Final = LimitType()
STATES: Final = StatesType()
