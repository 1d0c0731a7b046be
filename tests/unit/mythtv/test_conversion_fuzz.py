"""Random commands: with harmless values the converted command does what MythTV's text replacement
did; with hostile ones no value is executed."""

import os
import subprocess
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from mythjobs.model.arguments import fill_argv, parameter_environment
from mythjobs.model.definition import command_from_table
from mythjobs.mythtv.importer.shell_text import NotConvertibleError
from mythjobs.mythtv.importer.user_command import convert_command
from mythjobs.mythtv.parameters import TOKENS, describe_parameters

HARMLESS = {"title": "Tagesschau", "subtitle": "x1", "file": "a.ts", "dir": "/srv/tv"}
HOSTILE = {
    "title": "$(touch PWNED)`touch PWNED`", "subtitle": "'; touch PWNED; '",
    "file": '"; touch PWNED; "', "dir": "/x\ntouch PWNED\n",
}  # fmt: skip

_PIECES = [
    "%TITLE%", "%SUBTITLE%", "%FILE%", "%DIR%/%FILE%", "a", "-x", "b c", "\\ ", "100%", "{d}", "é",
    "$X", "${X}", "#", "=", "~", "*", "%", "%NONE%",
]  # fmt: skip
_plain = st.lists(st.sampled_from(_PIECES), min_size=1, max_size=3).map("".join)
_single = st.lists(st.sampled_from([*_PIECES, " ", '"', ";", "$(p)", "\\"]), max_size=4).map(
    lambda parts: "'" + "".join(parts) + "'"
)
_double = st.lists(
    st.sampled_from(
        [*_PIECES, " ", "'", ";", '\\"', "\\\\", "\\$X", "$(p %TITLE%)", '$(p "%FILE%")']
    ),
    max_size=4,
).map(lambda parts: '"' + "".join(parts) + '"')
_argument = st.lists(st.one_of(_plain, _single, _double), min_size=1, max_size=3).map("".join)
_simple = st.lists(_argument, max_size=3).map(lambda found: " ".join(["p", *found]))
_nested = _simple.filter(lambda text: "'" not in text).map(lambda text: f"sh -c '{text}'")
_texts = st.lists(
    st.tuples(
        st.one_of(_simple, _nested), st.sampled_from(["; ", " && ", " | cat; ", " || true; ", "\n"])
    ),
    min_size=1, max_size=2,
).map(lambda found: "".join(f"{command}{separator}" for command, separator in found[:-1])
      + found[-1][0])  # fmt: skip


def run_shell(argv: list[str], env: dict[str, str], directory: Path) -> tuple[int, list[list[str]]]:
    done = subprocess.run(
        argv, cwd=directory, env={**os.environ, **env, "PATH": f"{directory}:/usr/bin:/bin"},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    runs = [each.split("\1")[:-1] for each in done.stdout.split("\2")[:-1]]
    return done.returncode, runs


def make_program(directory: Path) -> None:
    program = directory / "p"
    # Arguments end with \\1, a run with \\2. A shell starts faster than Python.
    program.write_text('#!/bin/sh\n[ $# = 0 ] || printf "%s\\1" "$@"\nprintf "\\2"\n')
    program.chmod(0o700)


@settings(max_examples=60)
@given(_texts)
def test_a_converted_command_does_the_same_and_executes_no_value(text: str) -> None:
    try:
        converted = convert_command(text)
    except NotConvertibleError:
        return
    command = command_from_table(
        {
            "name": "x",
            **({"argv": list(converted.argv)} if converted.argv else {"shell": converted.shell}),
            "parameters": [
                {**each, "type": "text"} for each in describe_parameters(converted.parameters)
            ],
        }
    )

    def run_converted(values: dict[str, str], directory: Path) -> tuple[int, list[list[str]]]:
        own = {each: values[each] for each in converted.parameters}
        return run_shell(fill_argv(command, own), parameter_environment(own), directory)

    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        make_program(directory)
        replaced = text
        for token, parameter in TOKENS.items():
            replaced = replaced.replace(token, HARMLESS.get(parameter, ""))
        expected = run_shell(["/bin/sh", "-c", replaced], {}, directory)
        assert run_converted(HARMLESS, directory) == expected, (text, converted)
        run_converted(HOSTILE, directory)
        assert sorted(os.listdir(directory)) == ["p"], (text, converted)
