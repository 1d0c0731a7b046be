"""Parser of crontab(5): settings and entries, as Debian's cron and cronie read them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from mythjobs.takeover.cron.time_fields import RefusedLine, check_time_fields

# What takeover puts before a line: `#mythjobs NAME# `. The rest of the line is unchanged.
MARKER: Final = re.compile(r"#mythjobs ([^#\s]+)# ")
# `name = value`; the name may be quoted. Cron tries this before it reads a line as an entry.
_SETTING: Final = re.compile(
    r"""[ \t]*(?:"(?P<double>[^"=]*)"|'(?P<single>[^'=]*)'|(?P<bare>(?:[^\s='"][^\s=]*)?))"""
    r"[ \t]*=(?P<value>.*)",
    re.DOTALL,
)
_ESCAPED_PERCENT: Final = re.compile(r"\\?%")
_FIELD: Final = re.compile(r"[ \t]*([^ \t]+)")
_NICKNAMES: Final = {
    "yearly": "0 0 1 1 *",
    "annually": "0 0 1 1 *",
    "monthly": "0 0 1 * *",
    "weekly": "0 0 * * 0",
    "daily": "0 0 * * *",
    "midnight": "0 0 * * *",
    "hourly": "0 * * * *",
}
REBOOT: Final = "@reboot"
_MAX_LINE: Final = 128 * 1024  # MAX_ARG_STRLEN of Linux


@dataclass(frozen=True, slots=True)
class CronLine:
    """One entry of a crontab.

    number: of the line, from 1. raw: the line without its line break and without our marker. when:
    five time fields, or @reboot. written: the time as written, like `@daily`. user: "" in a user's
    crontab. text: the shell text. stdin: the input, or None. settings: the variables set by the
    lines above. disabled_as: the name in our marker before the line, or "".
    """

    number: int
    raw: str
    when: str
    written: str
    user: str
    text: str
    stdin: str | None
    settings: dict[str, str] = field(default_factory=dict)
    disabled_as: str = ""


@dataclass(frozen=True, slots=True)
class InvalidLine:
    """A line that is neither a setting nor an entry that cron accepts, and why.

    is_refused: Debian's cron ignores the whole file because of it.
    """

    number: int
    raw: str
    why: str
    is_refused: bool = False


def parse_crontab(
    text: str, *, is_system: bool, is_cronie: bool
) -> Iterator[CronLine | InvalidLine]:
    """Yield the entries of a crontab in their order, also those that takeover has disabled.

    is_system: entries have a user field, as in /etc/crontab and /etc/cron.d.
    """
    settings: dict[str, str] = {}
    for number, raw in enumerate(text.split("\n"), start=1):
        if len(raw) > _MAX_LINE:
            why = "is longer than 128 KiB, the longest argument that the system gives a shell"
            yield InvalidLine(number, f"{raw[:100]}…", why)
            continue
        marker = MARKER.match(raw)
        line = raw[marker.end() :] if marker else raw
        if not line.strip(" \t\r") or line.lstrip(" \t").startswith("#"):
            continue
        try:
            setting = None if marker else _parse_setting(line, is_cronie=is_cronie)
            if setting is not None:
                settings = {**settings, setting[0]: setting[1]}
                continue
            written, when, user, command = _split_entry(
                line, is_system=is_system, is_cronie=is_cronie
            )
        except ValueError as error:
            is_refused = isinstance(error, RefusedLine) and marker is None
            yield InvalidLine(number, line, str(error), is_refused)
            continue
        shell_text, stdin = split_command(command, is_cronie=is_cronie)
        yield CronLine(
            number, line, when, written, user, shell_text, stdin, settings,
            marker[1] if marker else "",
        )  # fmt: skip


def _parse_setting(line: str, *, is_cronie: bool) -> tuple[str, str] | None:
    """Return the name and the value of a setting, None for another line. Raises RefusedLine."""
    found = _SETTING.fullmatch(line)
    if found is None:
        return None
    name = found["double"] or found["single"] or found["bare"] or ""
    value = found["value"].strip(" \t\r")
    if not value:
        raise RefusedLine(f'sets {name} to nothing, which cron refuses; write {name}=""')
    if value[:1] in ("'", '"'):
        end = value.find(value[0], 1)
        if end < 0 or value[end + 1 :].strip():
            return None
        value = value[1:end]
    return name, value if is_cronie else _strip_again(value)


def _strip_again(value: str) -> str:
    """Return a value as Debian's cron does: without blanks at its end and a second pair of quotes,
    also inside of quotes."""
    value = value.rstrip(" \t\r")
    if len(value) > 1 and value[0] == value[-1] and value[0] in ("'", '"'):
        return value[1:-1]
    return value


def _split_entry(line: str, *, is_system: bool, is_cronie: bool) -> tuple[str, str, str, str]:
    """Return the time as written and as five fields, the user, and the rest of the line.

    Raises ValueError with the reason.
    """
    if line.endswith("\r"):
        raise ValueError("ends with a carriage return, which cron passes to the shell")
    rest = line.lstrip(" \t")
    if rest.startswith("@"):
        written, rest = _take_field(rest, "the time")
        nickname = written[1:]
        if nickname == "reboot":
            when = written = REBOOT
        elif nickname in _NICKNAMES:
            when = _NICKNAMES[nickname]
        else:
            known = ", ".join(f"@{each}" for each in ("reboot", *_NICKNAMES))
            raise RefusedLine(f"{written} is not a time of cron; known are {known}")
    else:
        fields = []
        for name in ("minute", "hour", "day of the month", "month", "day of the week"):
            each, rest = _take_field(rest, f"the {name}")
            fields.append(each)
        written = " ".join(fields)
        if fields[0].startswith("-"):
            # It keeps cronie from logging the run.
            if not is_cronie:
                raise RefusedLine("begins with a dash, which only cronie accepts; remove it")
            fields[0] = fields[0].removeprefix("-")
        when = " ".join(fields)
        check_time_fields(fields)
    user = ""
    if rest.lstrip(" \t").startswith("*"):
        raise RefusedLine("has a * too much, or a command that begins with *, which cron refuses")
    if is_system:
        user, rest = _take_field(rest, "the user")
    if not rest.strip(" \t"):
        raise ValueError("has no command")
    return written, when, user, rest.lstrip(" \t")


def _take_field(text: str, what: str) -> tuple[str, str]:
    found = _FIELD.match(text)
    if found is None:
        raise RefusedLine(f"{what} is missing")
    return found[1], text[found.end() :]


def split_command(command: str, *, is_cronie: bool) -> tuple[str, str | None]:
    r"""Return the shell text and the input of an entry's command.

    The first unescaped `%` begins the input, others are line breaks in it; `\%` is a `%`. Debian's
    cron and others also make one backslash of two in the shell text, cronie does not.
    """
    escapes = "%" if is_cronie else "%\\"
    pieces, at = list[str](), 0
    while at < len(command) and command[at] != "%":
        if command[at] == "\\" and at + 1 < len(command):
            at += 1
            pieces.append(command[at] if command[at] in escapes else f"\\{command[at]}")
        else:
            pieces.append(command[at])
        at += 1
    text = "".join(pieces)
    stdin = _ESCAPED_PERCENT.sub(
        lambda found: "%" if len(found[0]) == 2 else "\n", command[at + 1 :]
    )
    if not stdin:
        return text, None
    # Cron ends the input with a line break.
    return text, stdin if stdin.endswith("\n") else f"{stdin}\n"
