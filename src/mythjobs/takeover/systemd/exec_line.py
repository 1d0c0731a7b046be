"""Parser of `ExecStart=`: prefixes, quotes, escapes, variables and specifiers."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

_ESCAPES: Final = {
    "a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\",
    '"': '"', "'": "'", "s": " ",
}  # fmt: skip
_CODE: Final = re.compile(r"x([0-9a-fA-F]{2})|([0-7]{3})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})")
_VARIABLE: Final = re.compile(r"\$\$|\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_WHOLE_VARIABLE: Final = re.compile(r"\$([A-Za-z_][A-Za-z0-9_]*)")
_SPECIFIER: Final = re.compile(r"%(.)")


@dataclass(frozen=True, slots=True)
class ExecLine:
    """A program with its arguments. prefixes: the characters `@ - : + !` before it, as given."""

    prefixes: str
    argv: tuple[str, ...]


def split_quoted(text: str) -> list[tuple[str, bool]]:
    """Return the words of a setting with quotes and escapes removed, and whether each was quoted.

    Raises ValueError for an open quote or an unknown escape.
    """
    parts: list[tuple[str, bool]] = []
    at = 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        part, quote, was_quoted = "", "", False
        while at < len(text) and (quote or not text[at].isspace()):
            each = text[at]
            if each == "\\":
                value, at = _read_escape(text, at + 1)
                part += value
                continue
            if each == quote:
                quote = ""
            elif not quote and each in "'\"":
                quote, was_quoted = each, True
            else:
                part += each
            at += 1
        if quote:
            raise ValueError(f"an open quote {quote}")
        parts.append((part, was_quoted))
    return parts


def _read_escape(text: str, at: int) -> tuple[str, int]:
    """Return the character of an escape and the position after it; `at` follows the backslash."""
    if at < len(text) and text[at] in _ESCAPES:
        return _ESCAPES[text[at]], at + 1
    found = _CODE.match(text, at)
    if found is None:
        raise ValueError(f"the unknown escape \\{text[at : at + 1]}")
    octal = found[2]
    digits = next(each for each in found.groups() if each is not None)
    return chr(int(digits, 8 if octal else 16)), found.end()


def fill_specifiers(text: str, specifiers: Mapping[str, str]) -> str:
    """Return the text with `%n`, `%h` and others replaced. Raises ValueError for an unknown one."""

    def replace(found: re.Match[str]) -> str:
        if found[1] == "%":
            return "%"
        if found[1] not in specifiers:
            raise ValueError(f"the specifier %{found[1]}")
        return specifiers[found[1]]

    return _SPECIFIER.sub(replace, text)


def parse_exec(
    text: str, specifiers: Mapping[str, str], variables: Callable[[str], str | None]
) -> ExecLine:
    """Return the program and arguments of one ExecStart= value.

    variables: returns the value of an environment variable of the unit, or None. Raises ValueError
    for what cannot be resolved before the start.
    """
    parts = split_quoted(text)
    if not parts:
        raise ValueError("an empty ExecStart=")
    if any(part == ";" and not quoted for part, quoted in parts):
        raise ValueError("several commands joined with ;")
    first = parts[0][0]
    program = first.lstrip("@-:+!|")
    prefixes = first[: len(first) - len(program)]
    argv = [fill_specifiers(program, specifiers)]
    for part, _ in parts[1:]:
        part = fill_specifiers(part, specifiers)
        argv += [part] if ":" in prefixes else _expand(part, variables)
    if not argv[0]:
        raise ValueError("an ExecStart= without a program")
    return ExecLine(prefixes, tuple(argv))


def _expand(part: str, variables: Callable[[str], str | None]) -> list[str]:
    """Return the arguments that one word becomes: `$NAME` alone is split at blanks, `${NAME}` is
    inserted."""
    whole = _WHOLE_VARIABLE.fullmatch(part)
    if whole:
        return (variables(whole[1]) or "").split()
    return [_VARIABLE.sub(lambda found: "$" if not found[1] else variables(found[1]) or "", part)]
