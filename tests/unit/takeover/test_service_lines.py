"""Command lines and time spans of unit files."""

import math

import pytest

from mythjobs.takeover.systemd.exec_line import parse_exec, split_quoted
from mythjobs.takeover.systemd.time_span import parse_time_span
from mythjobs.takeover.systemd.unit_file import parse_unit

SPECIFIERS = {"n": "a@b.service", "i": "b", "h": "/root"}
VARIABLES = {"ONE": "1", "TWO": "a  b", "EMPTY": ""}


@pytest.mark.parametrize(
    "text, argv",
    [
        ("/bin/echo one  two", ["/bin/echo", "one", "two"]),
        ("""/bin/echo 'one two' "three\\tfour" a"b c"d""", ["/bin/echo", "one two", "three\tfour",
                                                            "ab cd"]),
        (r"/bin/echo \x41\102\u0043 \\ \s", ["/bin/echo", "ABC", "\\", " "]),
        ("/bin/echo $ONE ${ONE}x $TWO ${TWO} $EMPTY ${EMPTY} $$ONE",
         ["/bin/echo", "1", "1x", "a", "b", "a  b", "", "$ONE"]),
        ("/bin/echo $UNSET end", ["/bin/echo", "end"]),
        ("/bin/echo a$ONE", ["/bin/echo", "a$ONE"]),
        (":/bin/echo $ONE ${ONE}", ["/bin/echo", "$ONE", "${ONE}"]),
        ("-/bin/echo %i %n %h/x 100%%", ["/bin/echo", "b", "a@b.service", "/root/x", "100%"]),
        ('/bin/sh -c "a; b"', ["/bin/sh", "-c", "a; b"]),
    ],
)  # fmt: skip
def test_a_command_line_becomes_arguments(text: str, argv: list[str]) -> None:
    assert list(parse_exec(text, SPECIFIERS, VARIABLES.get).argv) == argv


def test_prefixes_are_kept_apart() -> None:
    assert parse_exec("-+:/bin/x", SPECIFIERS, VARIABLES.get).prefixes == "-+:"


@pytest.mark.parametrize(
    "text, why",
    [
        ("", "an empty ExecStart="),
        ("-", "without a program"),
        ("/bin/echo 'a", "an open quote"),
        (r"/bin/echo \q", "the unknown escape"),
        ("/bin/echo %z", "the specifier %z"),
        ("/bin/a ; /bin/b", "several commands"),
    ],
)
def test_what_cannot_be_resolved_is_named(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_exec(text, SPECIFIERS, VARIABLES.get)


def test_quotes_join_the_words_of_an_environment_setting() -> None:
    assert [part for part, _ in split_quoted("""A=1 "B=two words" C='x'y""")] == [
        "A=1", "B=two words", "C=xy",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text, seconds",
    [
        ("90", 90), ("5h 30min", 19800), ("2d", 172800), ("1h30m", 5400), ("1.5s", 1.5),
        ("100ms", 0.1), ("1w", 604800), ("1 month", 2629800), ("1y", 31557600),
        ("infinity", math.inf), ("2 hours 3 sec", 7203), ("0", 0),
    ],
)  # fmt: skip
def test_time_spans_are_read_in_all_units_of_systemd(text: str, seconds: float) -> None:
    assert parse_time_span(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "x", "5 parsecs", "-5", "5h,30min"])
def test_invalid_time_spans_are_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_time_span(text)


def test_a_drop_in_and_an_empty_setting_change_a_unit_file_as_in_systemd() -> None:
    unit = parse_unit(
        "x.timer",
        "# comment\n; comment\nIgnored=1\n[Timer]\nOnCalendar = daily \nOnCalendar=\n"
        "OnCalendar=a \\\n# between\n   b\nPersistent=yes\n[Other\nOnCalendar=c\n",
        "[Timer]\nOnCalendar=last\n",
    )
    assert unit.values("Timer", "OnCalendar") == ["a  b", "last"]
    assert unit.flag("Timer", "Persistent") is True
    assert unit.keys("Timer") == ["OnCalendar", "Persistent"]
    with pytest.raises(ValueError, match="not a boolean"):
        unit.flag("Timer", "OnCalendar")
