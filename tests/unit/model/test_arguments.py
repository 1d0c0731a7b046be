"""Arguments of a job: their types, what is missing or unknown, and the resulting command line."""

from __future__ import annotations

from typing import Any

import pytest

from mythjobs.errors import BadRequest
from mythjobs.model import arguments as a
from mythjobs.model.command import Command, Parameter, ParameterType

SOURCE = Parameter("source", ParameterType.PATH)


def a_command(*parameters: Parameter, **changed: Any) -> Command:
    return Command(**{"name": "flag", "argv": ("/bin/flag",), "parameters": parameters} | changed)


def error_of(command: Command, **given: object) -> str:
    with pytest.raises(BadRequest) as caught:
        a.check_arguments(command, given)
    return caught.value.sentence


@pytest.mark.parametrize(
    "kind, value, text",
    [
        ("text", "as it is ", "as it is "),
        ("text", "", ""),
        ("text", 7, "7"),
        ("int", "007", "7"),
        ("int", -3, "-3"),
        ("float", "1e3", "1e3"),
        ("float", 2.5, "2.5"),
        ("enum", "low", "low"),
        ("path", "/", "/"),
    ],
)
def test_a_valid_value_becomes_text(kind: str, value: object, text: str) -> None:
    values = ("high", "low") if kind == "enum" else ()
    command = a_command(Parameter("x", ParameterType(kind), values))
    assert a.check_arguments(command, {"x": value}) == {"x": text}


LONG = "1x" * 50


@pytest.mark.parametrize(
    "kind, value, error",
    [
        ("text", "a\0b", 'parameter "x": must not have a NUL character'),
        ("text", "\ud800", 'parameter "x": contains characters that are not valid Unicode'),
        ("text", True, 'parameter "x" must be text or a number'),
        ("text", ["a"], 'parameter "x" must be text or a number'),
        ("int", "1.5", 'parameter "x": "1.5" is not a whole number'),
        ("int", LONG, f'parameter "x": "{LONG[:50]}" is not a whole number'),
        ("float", "fast", 'parameter "x": "fast" is not a number'),
        ("float", LONG, f'parameter "x": "{LONG[:50]}" is not a number'),
        ("float", "nan", 'parameter "x": must be a finite number'),
        ("float", "-inf", 'parameter "x": must be a finite number'),
        ("enum", "medium", 'parameter "x": "medium" must be one of high, low'),
        ("enum", LONG, f'parameter "x": "{LONG[:50]}" must be one of high, low'),
        ("path", "tv/a.ts", 'parameter "x": "tv/a.ts" must be an absolute path'),
        ("path", LONG, f'parameter "x": "{LONG[:80]}" must be an absolute path'),
    ],
)
def test_an_invalid_value_is_refused(kind: str, value: object, error: str) -> None:
    values = ("high", "low") if kind == "enum" else ()
    assert error_of(a_command(Parameter("x", ParameterType(kind), values)), x=value) == error


def test_the_longest_value_is_the_kernels_with_room_for_the_name() -> None:
    # execve(2) fails with E2BIG for an environment string of 128 KiB with its NUL.
    most = 131_071 - len("MYTHJOBS_P_=") - 100
    command = a_command(Parameter("x"))
    assert a.check_arguments(command, {"x": "é" * (most // 2)})
    assert error_of(command, x="a" * (most + 1)) == (
        f'parameter "x": is {most + 1} bytes long; the kernel accepts at most 131071'
    )


def test_defaults_are_used_and_a_missing_argument_is_refused() -> None:
    command = a_command(SOURCE, Parameter("n", default="3"), Parameter("note", required=False))
    assert a.check_arguments(command, {"source": "/a"}) == {"source": "/a", "n": "3", "note": ""}
    given = {"source": "/a", "n": 4, "note": None}
    assert a.check_arguments(command, given) == {"source": "/a", "n": "4", "note": ""}
    assert error_of(command, n=4) == 'flag requires the parameter "source"; give --param source=…'


def test_an_unknown_argument_is_refused_with_the_known_ones() -> None:
    command = a_command(SOURCE, Parameter("n", default="3"))
    # Seen: the misspelt name was not mentioned, but only that the right one was missing.
    assert error_of(command, sourc="/a") == 'flag has no parameter "sourc"; it has source, n'
    assert error_of(command, source="/a", m=1) == ('flag has no parameter "m"; it has source, n')
    assert error_of(a_command(), m=1) == 'flag has no parameter "m"; it has none'


@pytest.mark.parametrize(
    "argv, parameter",
    [
        (("flag", "{x}"), Parameter("x", dash=True)),
        (("flag", "--", "{x}"), Parameter("x")),
        (("flag", "-i={x}"), Parameter("x")),
        (("flag", "x"), Parameter("x")),
        (("flag", "{x}"), Parameter("x", ParameterType.INT)),
        (("flag", "{x}"), Parameter("x", ParameterType.FLOAT)),
    ],
)
def test_a_leading_dash_is_accepted_where_it_is_no_option(
    argv: tuple[str, ...], parameter: Parameter
) -> None:
    assert a.check_arguments(a_command(parameter, argv=argv), {"x": "-1"}) == {"x": "-1"}


@pytest.mark.parametrize("argv", [("flag", "{x}"), ("flag", "{x}", "--"), ("flag", "a", "{x}")])
def test_a_value_that_would_be_an_option_is_refused(argv: tuple[str, ...]) -> None:
    assert error_of(a_command(Parameter("x"), argv=argv), x="-rf") == (
        'parameter "x" begins with a dash, and flag would parse it as an option; set dash = true '
        'for the parameter, or put "--" before it in argv'
    )


def test_a_dash_is_found_behind_a_harmless_argument() -> None:
    command = a_command(Parameter("x"), Parameter("y"), argv=("flag", "{x}", "{y}"))
    assert 'parameter "y" begins with a dash' in error_of(command, x="a", y="-b")
    dashed = a_command(Parameter("x", dash=True), Parameter("y"), argv=("flag", "{x}", "{y}"))
    assert 'parameter "y" begins with a dash' in error_of(dashed, x="-a", y="-b")


def test_the_command_line_has_the_values_as_single_arguments() -> None:
    values = {"source": "/tv/a b.ts", "n": "7"}
    command = a_command(argv=("/bin/flag", "-i", "{source}", "n={n}", "{{}}", "plain"))
    assert a.fill_argv(command, values) == [
        "/bin/flag", "-i", "/tv/a b.ts", "n=7", "{}", "plain",
    ]  # fmt: skip
    assert a.fill_argv(a_command(argv=("a", "}}", "{{")), values) == ["a", "}", "{"]


def test_shell_text_is_passed_unchanged_and_reads_its_environment() -> None:
    command = a_command(argv=(), shell='cat "$MYTHJOBS_P_SOURCE" {n}')
    values = {"source": "/a", "n": "7"}
    assert a.fill_argv(command, values) == [
        "/bin/sh", "-c", 'cat "$MYTHJOBS_P_SOURCE" {n}', "flag",
    ]  # fmt: skip
    assert a.parameter_environment(values) == {"MYTHJOBS_P_SOURCE": "/a", "MYTHJOBS_P_N": "7"}


def test_the_input_file_is_filled_from_its_template() -> None:
    assert a.fill_stdin(a_command(stdin="{source}.in"), {"source": "/a"}) == "/a.in"
    assert a.fill_stdin(a_command(), {"source": "/a"}) == ""
