"""Parsing of command definitions, and errors for invalid ones."""

from __future__ import annotations

import math
from typing import Any

import pytest

from mythjobs.errors import DefinitionError
from mythjobs.model.command import Command, Parameter, ParameterType
from mythjobs.model.definition import command_from_table
from mythjobs.model.policy_tables import RETRYABLE_OUTCOMES, Retry, Windows
from mythjobs.model.progress import PRESETS, ProgressReader


def defined(**table: object) -> Command:
    return command_from_table({"name": "flag", "argv": ["/bin/true"], **table})


def error_of(**table: object) -> str:
    with pytest.raises(DefinitionError) as caught:
        defined(**table)
    return caught.value.sentence


def test_a_minimal_command_has_no_limits_and_a_cgroup() -> None:
    command = defined()
    assert command.contain
    assert command.retry == Retry(0, 60.0, RETRYABLE_OUTCOMES, "")
    assert command.windows == Windows()
    assert (command.semaphores, command.labels, command.at_most) == ((), (), None)
    assert (command.silence, command.lease_s) == ("", None)


def test_limits_are_parsed_in_their_units() -> None:
    command = defined(
        limits={
            "wall": "6h", "cpu": "20h", "idle": "10m", "memory": "2GiB", "output": "1GiB",
            "processes": 64, "grace": "3s", "nice": 10, "io": "best-effort:7", "on_breach": "hold",
        }
    )  # fmt: skip
    limits = command.limits
    assert (limits.wall_s, limits.cpu_s, limits.idle_s) == (21600, 72000, 600)
    assert (limits.memory_bytes, limits.output_bytes, limits.processes) == (2**31, 2**30, 64)
    assert (limits.grace_s, command.nice, command.io) == (3, 10, "best-effort:7")
    assert command.on_breach == "hold"


def test_retry_windows_semaphores_and_other_keys_are_parsed() -> None:
    command = defined(
        retry={"failures": 2, "backoff": "1m", "on": ["exited", "breached"], "later": "NAS off"},
        windows={"open": ["mon-fri 22:00-06:00"], "closing": "freeze", "grace": "30s"},
        semaphores={"tuner": 1, "nas": 3},
        labels=["gpu", "big"],
        silence="rerun",
        lease="6h",
        at_most=3,
    )
    assert command.retry == Retry(2, 60.0, ("exited", "breached"), "NAS off")
    assert command.windows == Windows(("mon-fri 22:00-06:00",), "freeze", 30.0)
    assert command.semaphores == (("nas", 3), ("tuner", 1))
    assert command.labels == ("big", "gpu")
    assert (command.lease_s, command.at_most) == (21600, 3)
    assert defined(silence="hold", lease="forever").lease_s == math.inf


SIZES = 'write it like "512MiB" or "2GiB"'
PARTS = 'must be a list of strings, like ["ffmpeg", "{source}"]'
CODES = "success: must be a list of exit codes from 0 to 255, like [0]"
PRESET = "or { regex = '…' }"
REGEX = "progress: as a table is { regex = '…' }"


@pytest.mark.parametrize(
    "table, error",
    [
        ({"name": ""}, 'name: is missing; add it, like name = "transcode-h264"'),
        (
            {"name": "Flag"},
            'name: "Flag" is invalid; use small letters and digits, joined by - _ or . '
            "(up to 100 characters)",
        ),
        ({"name": "run"}, 'name: "run" is a built-in command; choose another name'),
        ({"name": 7}, 'name: must be text in quotes, like name = "…"'),
        ({"shell": "true"}, 'argv: give either argv = ["program", …] or shell = """…"""'),
        ({"argv": "true"}, f"argv: {PARTS}"),
        ({"argv": ["a", 7]}, f"argv: {PARTS}"),
        ({"argv": []}, "argv: is empty; its first element is the program to run"),
        ({"argv": ["", "a"]}, "argv: is empty; its first element is the program to run"),
        ({"argv": ["a", "b\0"]}, "argv[1]: must not have a NUL character"),
        (
            {"argv": ["a", "{b}"]},
            "argv[1]: {b} is not a declared parameter; declare it, or write {{ }}",
        ),
        (
            {"argv": ["a", "{"]},
            'argv[1]: "{" at character 1 is neither a placeholder like {source} nor doubled',
        ),
        (
            {"subject": "{b}"},
            "subject: {b} is not a declared parameter; declare it, or write {{ }}",
        ),
        ({"subject": "a\0"}, "subject: must not have a NUL character"),
        ({"contain": 1}, "contain: must be true or false"),
        ({"success": []}, CODES),
        ({"success": 7}, CODES),
        ({"success": [256]}, CODES),
        ({"success": [-1]}, CODES),
        ({"success": [0, True]}, CODES),
        ({"success": ["0"]}, CODES),
        ({"progress": {"regex": 7}}, REGEX),
        ({"progress": {"regexp": "x"}}, REGEX),
        ({"progress": {"regex": "(x)", "flags": 1}}, REGEX),
        (
            {"progress": {"regex": r"\d+"}},
            "progress.regex: needs a group () around the percentage",
        ),
        ({"stderr": "both"}, 'stderr: must be "merged" (in order with stdout) or "separate"'),
        ({"cwd": "srv"}, "cwd: must be an absolute path"),
        ({"env": ["a"]}, 'env: must be a table, like [env] with LANG = "C.UTF-8"'),
        ({"env": {"1A": "x"}}, "env.1A: is not a variable name that may be set here"),
        (
            {"env": {"MYTHJOBS_JOB": "x"}},
            "env.MYTHJOBS_JOB: is not a variable name that may be set here",
        ),
        ({"env": {"A": 7}}, "env.A: must be text without NUL"),
        ({"env": {"A": "a\0"}}, "env.A: must be text without NUL"),
        ({"output": "1MiB"}, 'output: is a table of head and tail, like head = "4MiB"'),
        ({"output": {"top": 1}}, 'output: is a table of head and tail, like head = "4MiB"'),
        ({"output": {"head": "much"}}, f'output: "much" is not a size; {SIZES}'),
        ({"output": {"tail": "much"}}, f'output: "much" is not a size; {SIZES}'),
        ({"output": {"head": "0B"}}, "output: head and tail are each 1 byte to 1 GiB"),
        ({"output": {"tail": "0B"}}, "output: head and tail are each 1 byte to 1 GiB"),
        ({"output": {"head": "1048577KiB"}}, "output: head and tail are each 1 byte to 1 GiB"),
        ({"output": {"tail": "1048577KiB"}}, "output: head and tail are each 1 byte to 1 GiB"),
        (
            {"limits": {"on_breach": "panic"}},
            'limits.on_breach: "panic" must be one of fail, retry, hold',
        ),
        (
            {"limits": {"on_breach": 7}},
            'limits.on_breach: must be text in quotes, like on_breach = "…"',
        ),
        (
            {"limits": {"on_breach": "retry"}},
            'limits.on_breach: "retry" needs [retry] failures = N, the number of retries',
        ),
        ({"limits": 3}, 'limits: must be a table, like [limits] with wall = "6h"'),
        ({"at_most": 0}, "at_most: must be a whole number from 1 to 100000"),
        ({"at_most": 100_001}, "at_most: must be a whole number from 1 to 100000"),
        (
            {"silence": "ignore"},
            'silence: "ignore" must be one of rerun, hold, keep, idempotent',
        ),
        ({"silence": "rerun", "lease": "10s"}, "lease: must be at least 60s"),
        (
            {"lease": "6h"},
            'lease: needs silence = "rerun" or "hold"; set one of them, or remove lease',
        ),
        (
            {"silence": "keep", "lease": "6h"},
            'lease: needs silence = "rerun" or "hold"; set one of them, or remove lease',
        ),
        (
            {"contain": False, "limits": {"memory": "1GiB"}},
            "contain: the limit memory applies to the process tree, which needs a cgroup; remove "
            "contain = false",
        ),
        (
            {"contain": False, "limits": {"idle": "1m"}},
            "contain: the limit idle applies to the process tree, which needs a cgroup; remove "
            "contain = false",
        ),
        (
            {"contain": False, "windows": {"closing": "freeze"}},
            'contain: closing = "freeze" needs a cgroup; remove contain = false',
        ),
    ],
)
def test_an_invalid_value_is_refused_with_key_and_remedy(
    table: dict[str, object], error: str
) -> None:
    assert error_of(**table) == error


def test_an_unknown_key_is_refused_with_the_known_ones() -> None:
    error = error_of(limit={})
    assert error.startswith("limit: unknown key; known are name, summary, argv, shell, ")
    assert error.endswith(", at_most, retention, notify, heartbeat")


@pytest.mark.parametrize("progress", [7, ["percent"], "percents"])
def test_an_unknown_progress_preset_is_refused_with_the_known_ones(progress: object) -> None:
    assert error_of(progress=progress) == f"progress: must be one of {', '.join(PRESETS)}, {PRESET}"


def test_the_largest_values_are_accepted() -> None:
    assert defined(at_most=100_000).at_most == 100_000
    assert defined(success=[255, 0, 255]).success == (0, 255)
    assert defined(silence="hold", lease="60s").lease_s == 60
    assert defined(output={"head": "1GiB", "tail": "1B"}).keep_bytes == (2**30, 1)
    assert defined(output={"head": "1B", "tail": "1GiB"}).keep_bytes == (1, 2**30)
    assert defined(output={"tail": "1MiB"}).keep_bytes == (4 * 2**20, 2**20)


def test_the_other_keys_are_parsed() -> None:
    command = defined(
        summary="Find commercials", subject="tv/{n}", parameters=[{"name": "n"}], cwd="/srv",
        env={"LANG": "C", "_a1": ""}, stderr="separate", progress="percent",
        overlap=True, scratch=True, best_effort=True, limits={"on_breach": "fail"},
    )  # fmt: skip
    assert (command.summary, command.subject, command.cwd) == ("Find commercials", "tv/{n}", "/srv")
    assert (command.env, command.progress) == ({"LANG": "C", "_a1": ""}, "percent")
    assert (command.separate_stderr, command.on_breach) == (True, "fail")
    assert command.overlap
    assert command.scratch
    assert command.best_effort
    plain = defined()
    assert plain == Command("flag", argv=("/bin/true",))
    assert plain.success == (0,)


PARAMETERS = "parameters: must be tables with the header [[parameters]]"
DEFAULT = "parameters.a.required: must be true or false, and false with a default"


@pytest.mark.parametrize(
    "parameters, error",
    [
        ({"name": "a"}, PARAMETERS),
        ([{"name": "a"}, "b"], PARAMETERS),
        (
            [{"name": "a"}, {"name": "b", "kind": "int"}],
            "parameters[2].kind: unknown key; known are name, type, values, default, required, "
            "help, dash, exists",
        ),
        ([{"name": "A"}], "parameters[1].name: must match [a-z][a-z0-9_]*"),
        ([{"name": 7}], "parameters[1].name: must match [a-z][a-z0-9_]*"),
        ([{}], "parameters[1].name: must match [a-z][a-z0-9_]*"),
        ([{"name": "a"}, {"name": "a"}], 'parameters[2].name: "a" is repeated'),
        (
            [{"name": "a", "type": "number"}],
            "parameters.a.type: must be one of text, int, float, enum, path",
        ),
        (
            [{"name": "a", "type": "enum", "values": "b"}],
            "parameters.a.values: must be a list of strings",
        ),
        (
            [{"name": "a", "type": "enum", "values": [1]}],
            "parameters.a.values: must be a list of strings",
        ),
        (
            [{"name": "a", "type": "enum"}],
            "parameters.a.values: is for type enum, and required there",
        ),
        (
            [{"name": "a", "values": ["b"]}],
            "parameters.a.values: is for type enum, and required there",
        ),
        ([{"name": "a", "default": True}], "parameters.a.default: must be text or a number"),
        ([{"name": "a", "default": [1]}], "parameters.a.default: must be text or a number"),
        (
            [{"name": "a", "type": "int", "default": "x"}],
            'parameters.a.default: "x" is not a whole number',
        ),
        ([{"name": "a", "required": "yes"}], DEFAULT),
        ([{"name": "a", "required": True, "default": "b"}], DEFAULT),
        ([{"name": "a", "help": 7}], "parameters.a.help: must be text"),
        ([{"name": "a", "dash": "no"}], "parameters.a.dash: must be true or false"),
        ([{"name": "a", "exists": True}], "parameters.a.exists: is for type path"),
    ],
)
def test_an_invalid_parameter_is_refused(parameters: object, error: str) -> None:
    assert error_of(parameters=parameters) == error


def test_parameters_are_parsed_with_their_defaults() -> None:
    tables = [
        {"name": "source", "type": "path", "help": "The recording"},
        {"name": "n", "type": "int", "default": 3},
        {"name": "q", "type": "enum", "values": ["high", "low"], "required": False},
        {"name": "pattern", "dash": True},
    ]
    assert defined(parameters=tables).parameters == (
        Parameter("source", ParameterType.PATH, help="The recording"),
        Parameter("n", ParameterType.INT, (), "3", False),
        Parameter("q", ParameterType.ENUM, ("high", "low"), None, False),
        Parameter("pattern", ParameterType.TEXT, (), None, True, True, ""),
    )
    assert defined(parameters=tables).parameter("n") == Parameter(
        "n", ParameterType.INT, (), "3", False
    )
    assert defined(parameters=tables).parameter("m") is None


def test_shell_text_is_not_a_template() -> None:
    table: dict[str, Any] = {"name": "flag", "parameters": [{"name": "n"}]}
    text = 'echo "$MYTHJOBS_P_N" {other}'
    command = command_from_table({**table, "shell": text})
    assert (command.argv, command.shell) == ((), text)
    for shell, error in [
        (" \n", "shell: is empty"),
        (
            "echo\necho {n}",
            'shell: line 2 has {n}; shell text is not a template, write "$MYTHJOBS_P_N" instead',
        ),
    ]:
        with pytest.raises(DefinitionError) as caught:
            command_from_table({**table, "shell": shell})
        assert caught.value.sentence == error


def test_daemons_may_be_left_without_a_cgroup() -> None:
    # Seen: refused as having no effect. Without it a cgroup-less tree is ended all the same.
    command = defined(contain=False, leave_daemons=True)
    assert command.leave_daemons
    assert not command.contain


def test_limits_of_the_leader_need_no_cgroup() -> None:
    assert not defined(contain=False, limits={"wall": "1m", "output": "1MiB"}).contain


@pytest.mark.parametrize("regex", [r"(\d+) \u2030", r"(?u)(\d+)%", r"\N{PER MILLE SIGN} (\d+)"])
def test_an_expression_that_is_invalid_for_bytes_is_rejected(regex: str) -> None:
    error = error_of(progress={"regex": regex})
    assert error.startswith("progress.regex: is not a regular expression")


def test_an_expression_searches_the_bytes_of_the_output() -> None:
    reader = ProgressReader(defined(progress={"regex": "([a-z0-9]+) ‰"}).progress)
    reader.feed("42 ‰\nnan ‰\ninf ‰\n".encode())
    assert reader.percent == 42.0


def test_stdin_is_a_template_of_a_path() -> None:
    assert defined().stdin == ""
    parameters = [{"name": "source", "type": "path"}]
    assert defined(stdin="{source}", parameters=parameters).stdin == "{source}"
    shell = {"name": "count", "shell": "wc -l", "stdin": "/srv/in"}
    assert command_from_table(shell).stdin == "/srv/in"
    assert defined(stdin="in.txt", cwd="/srv").stdin == "in.txt"


@pytest.mark.parametrize(
    "stdin, why",
    [
        (7, "stdin: must be text in quotes"),
        ("/a\0b", "stdin: must not have a NUL character"),
        ("/srv/{x}", "stdin: {x} is not a declared parameter"),
        ("/srv/{", 'stdin: "{" at character 6 is neither'),
        ("in.txt", 'stdin: "in.txt" is relative to the working directory; set cwd, or give an '),
    ],
)
def test_an_invalid_stdin_is_refused(stdin: object, why: str) -> None:
    assert error_of(stdin=stdin).startswith(why)
