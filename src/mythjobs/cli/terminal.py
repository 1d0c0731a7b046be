"""How answers are written: plain aligned text, tables on a terminal, JSON, notes on stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any, Final

from mythjobs.cli.texts import display_width, escape_controls, sanitize

_COLOURS: Final = {
    "succeeded": "32", "failed": "31", "cancelled": "33", "running": "36", "leased": "36",
    "up": "32", "silent": "31", "away": "33",
}  # fmt: skip
# The columns that may be folded where the terminal is narrow.
_LONG: Final = ("subject", "reason", "parameters", "summary", "allowed")
_RICH: Final = {"31": "red", "32": "green", "33": "yellow", "36": "cyan"}


def is_coloured() -> bool:
    """Whether stdout is a terminal whose user has not said NO_COLOR (no-color.org)."""
    return (
        sys.stdout.isatty()
        and not os.environ.get("NO_COLOR")
        and os.environ.get("TERM", "") not in ("", "dumb")
    )


def print_line(line: str = "") -> None:
    print(line)


def print_line_now(line: str) -> None:
    """A line that someone may be waiting for at the other end of a pipe."""
    print(line, flush=True)


def print_message(sentence: str) -> None:
    """What is no part of the answer, on stderr: errors, and what happens meanwhile."""
    try:
        print(f"mythjobs: {sanitize(sentence)}", file=sys.stderr, flush=True)
    except OSError:
        # Nobody can be told; the exit code still says what it is to say.
        redirect_to_null(2)


def redirect_to_null(fd: int) -> None:
    """What is left in its buffer would be written again at exit, and fail again, with words."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, fd)
    os.close(devnull)


def print_json(value: object) -> None:
    import json

    ascii_only = (sys.stdout.encoding or "").lower().replace("-", "") != "utf8"
    print(escape_controls(json.dumps(value, ensure_ascii=ascii_only, indent=2)))


def colour_state(state: str) -> str:
    """A state, in its colour where there are colours."""
    code = _COLOURS.get(state)
    return f"\x1b[{code}m{state}\x1b[0m" if code and is_coloured() else sanitize(state)


def print_fields(pairs: Iterable[tuple[str, str]]) -> None:
    """Label and value, line by line; what has no value is left out."""
    shown = [(label, value) for label, value in pairs if value]
    widest = max((display_width(label) for label, _ in shown), default=0)
    for label, value in shown:
        print_line(f"{label}{' ' * (widest - display_width(label))}  {value}")


def plain_table(
    headings: Sequence[str], rows: Iterable[Sequence[object]], right: Sequence[str] = ()
) -> None:
    """Columns under headings, two blanks between; those named in `right` are flush right."""
    cells = [[sanitize(each) for each in row] for row in rows]
    widths = [display_width(heading) for heading in headings]
    for row in cells:
        widths = [max(wide, display_width(cell)) for wide, cell in zip(widths, row, strict=True)]
    flush = [heading in right for heading in headings]
    bold = is_coloured()
    for number, row in enumerate([list(headings), *cells]):
        parts = []
        for cell, wide, to_right in zip(row, widths, flush, strict=True):
            gap = " " * (wide - display_width(cell))
            parts.append(gap + cell if to_right else cell + gap)
        line = "  ".join(parts).rstrip()
        print_line(f"\x1b[1m{line}\x1b[0m" if bold and number == 0 else line)


def print_table(
    headings: Sequence[str], rows: Iterable[Sequence[object]], right: Sequence[str] = ()
) -> None:
    """A plain table, or one that fits the terminal where there is one."""
    if not sys.stdout.isatty():
        plain_table(headings, rows, right)
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for heading in headings:
        side: Any = "right" if heading in right else "left"
        drawn.add_column(heading, justify=side, overflow="fold", no_wrap=heading not in _LONG)
    for row in rows:
        words = [sanitize(each) for each in row]
        drawn.add_row(*(Text(each, _RICH.get(_COLOURS.get(each, ""), "")) for each in words))
    Console(highlight=False).print(drawn)
