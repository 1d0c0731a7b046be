"""Conversion of MythTV's user jobs, with a real shell and values that would run programs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mythjobs.model.arguments import fill_argv, parameter_environment
from mythjobs.model.definition import command_from_table
from mythjobs.mythtv.importer.shell_text import NotConvertibleError
from mythjobs.mythtv.importer.user_command import convert_command
from mythjobs.mythtv.parameters import PARAMETERS, describe_parameters

# Prints its arguments as a line of JSON.
PRINT = Path(__file__).with_name("print_arguments.py")
HOSTILE = """Ärger "im" 'Haus' $(touch PWNED) `touch PWNED`; touch PWNED & | * %FILE% \\ ~
2. Zeile ${HOME} $((1+1)) {title}"""


def run(text: str, directory: Path, value: str = HOSTILE) -> list[list[str]]:
    """Return the arguments that each run of the program `p` in the converted command got."""
    converted = convert_command(text)
    program = directory / "p"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -ISS {PRINT} "$@"\n')
    program.chmod(0o700)
    command = command_from_table(
        {
            "name": "x",
            **({"argv": list(converted.argv)} if converted.argv else {"shell": converted.shell}),
            "parameters": describe_parameters(converted.parameters),
        }
    )
    values = {
        each: value if PARAMETERS[each].type == "text" else "7" for each in converted.parameters
    }
    done = subprocess.run(
        fill_argv(command, values),
        cwd=directory,
        env={"PATH": f"{directory}:{os.environ['PATH']}", **parameter_environment(values)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert not (directory / "PWNED").exists()
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize(
    "text, expected",
    [
        ("p %TITLE%", [[HOSTILE]]),
        ('p "%TITLE%"', [[HOSTILE]]),
        ("p '%TITLE%'", [[HOSTILE]]),
        ('p --title="%TITLE%" -x', [["--title=" + HOSTILE, "-x"]]),
        ("p a%TITLE%b'%SUBTITLE%'", [["a" + HOSTILE + "b" + HOSTILE]]),
        ('p "%TITLE%" {literal} "a  b" \'\' ""', [[HOSTILE, "{literal}", "a  b", "", ""]]),
        ("p %SEASON%x%EPISODE%", [["7x7"]]),
        ('p "%TITLE%" && p x; p y', [[HOSTILE], ["x"], ["y"]]),
        ('p "%TITLE%" | cat', [[HOSTILE]]),
        ('f="%TITLE%"; p "$f" "${f%%nothing}"', [[HOSTILE, HOSTILE]]),
        ('p "$(printf %s "%TITLE%")"', [[HOSTILE]]),
        ("p \"$(printf %s '%TITLE%')\"", [[HOSTILE]]),
        ('if [ -n "%TITLE%" ]; then p yes; else p no; fi', [["yes"]]),
        ("sh -c 'p \"%TITLE%\"'", [[HOSTILE]]),
        ("sh -c \"p '%TITLE%' && p 2\"", [[HOSTILE.split(None)[0]], ["2"]]),
        ("nice -n 1 sh -c 'p \"%TITLE%\"' 2>/dev/null", [[HOSTILE]]),
        ("(p %TITLE%) # a comment with %TITLE%", [[HOSTILE]]),
        ("p `printf x` '%TITLE%'", [["x", HOSTILE]]),
        ("p 100% %FOO% 50%% %TITLE%", [["100%", "%FOO%", "50%%", HOSTILE]]),
        ("p %TITLE% &", [[HOSTILE]]),
        ('p "\\$HOME \\"%TITLE%\\" \\\\"', [['$HOME "' + HOSTILE + '" \\']]),
    ],
)
def test_a_value_reaches_the_program_as_it_is(
    tmp_path: Path, text: str, expected: list[list[str]]
) -> None:
    if "sh -c \"p '" in text:
        # Quotes of the inner shell around the value are of no consequence: one argument.
        expected = [[HOSTILE], ["2"]]
    assert run(text, tmp_path) == expected


@pytest.mark.parametrize(
    "text, reason",
    [
        ("", "empty"),
        ("   ", "empty"),
        ("# only a comment", "no program"),
        ('p "%TITLE%', 'closing "'),
        ("p '%TITLE%", "closing '"),
        ("p $(ls %DIR%", "closing )"),
        ("p %TITLE%\\", "backslash"),
        ('eval "%TITLE%"', "eval"),
        ('X="%TITLE%"; eval $X', "eval"),
        ('X="%TITLE%"; sh -c "$X"', "the shell composes"),
        ('ssh box "ls %FILE%"', "ssh"),
        ("timeout 60 ssh box ls %FILE%", "ssh"),
        ('echo "%TITLE%" | sh', "piped"),
        ('cat x; echo "%TITLE%" | ssh box', "piped"),
        ('echo "%TITLE%" | cat | bash -s', "piped"),
        ("su - tv -c 'p %FILE%'", "su would"),
        ('sudo sh -c "p %FILE%"', "without the environment"),
        ("perl -e 'print q(%TITLE%)'", "program for perl"),
        ("python3 -c \"print('%TITLE%')\"", "program for python3"),
        ("mysql -e \"UPDATE recorded SET title='%TITLE%'\"", "program for mysql"),
        ("sed s/x/%TITLE%/ f", "program for sed"),
        ("awk -v x=1 '/%TITLE%/' f", "program for awk"),
        ("%DIR%/run", "program's name"),
        ("bash %DIR%/run.sh", "script's name"),
        ("p $((%SEASON% + 1))", "arithmetic"),
        ("p ${X:-%TITLE%}", "${…}"),
        ("cat <<E\n%TITLE%\nE", "here-document"),
        ('p "`ls %DIR%`"', "backquotes"),
        ('p "$(case %TITLE% in a) echo x;; esac)"', "case"),
        ("p $'%TITLE%'", "$'"),
        (". %DIR%/settings", ". would"),
        ("p $X%TITLE%", "variable's name"),
        ('p "$%TITLE%"', "variable's name"),
        ("p $[%SEASON%+1]", "$["),
        ('p "$[x[%TITLE%]]"', "$["),
        ("p \\%TITLE%", "backslash"),
        ('p "\\%TITLE%"', "backslash"),
    ],
)
def test_what_would_be_evaluated_again_is_refused(text: str, reason: str) -> None:
    with pytest.raises(NotConvertibleError) as refused:
        convert_command(text)
    assert reason in str(refused.value)


@pytest.mark.parametrize(
    "text",
    [
        "ssh box uptime",
        "eval ls",
        "perl -e 'print 1'",
        "cat x | sh",
        "p $((1 + 1))",
        'p "$[1]"',
    ],
)
def test_a_command_without_values_may_do_all_that(text: str) -> None:
    converted = convert_command(text)
    assert converted.parameters == ()


def test_a_list_of_words_becomes_an_argv() -> None:
    converted = convert_command("  /opt/x --a 'b c'  \"%DIR%/%FILE%\" \\%x ")
    assert converted.argv == ("/opt/x", "--a", "b c", "{dir}/{file}", "%x")
    assert converted.parameters == ("dir", "file")
    assert convert_command('/opt/x a\\\n "b\\\nc"').argv == ("/opt/x", "a", "bc")


def test_the_log_options_are_split_into_words(tmp_path: Path) -> None:
    assert run("p %VERBOSEMODE% '%TITLE%'", tmp_path, " --a b") == [["--a", "b", " --a b"]]


def test_unknown_tokens_are_noted() -> None:
    converted = convert_command("p %FOO% &")
    assert converted.notes == (
        "the & at its end is left out: mythjobs waits for the program",
        "%FOO% is no token of MythTV: the text stays",
    )


@pytest.mark.parametrize(
    "text",
    [
        "awk '{print}' \"%DIR%/%FILE%\"",
        "awk -F: '{print}' \"%FILE%\"",
        'sed -i s/a/b/ "%FILE%"',
        'perl -ne print "%FILE%"',
        'python3 /opt/x.py --title "%TITLE%"',
        'find /srv -name "%FILE%" -exec ls {} ;',
        'cp "%FILE%" .',
        'sudo /opt/x "%TITLE%"',
    ],
)
def test_values_for_a_program_that_is_constant(text: str) -> None:
    assert convert_command(text).parameters
