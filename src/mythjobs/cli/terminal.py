"""Output to stdout and stderr: lines, tables, JSON, job output, messages. Input of confirmations
and secrets."""

from __future__ import annotations

import codecs
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import ClassVar, Final, NamedTuple, TextIO

from mythjobs.errors import BadRequest

# Control characters (C0, C1) and bidirectional marks. In text from a job they can move the cursor,
# set the terminal's title, or disguise other text.
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_KEPT_IN_OUTPUT: Final = "\n\t\r"
_LINE_BREAKS: Final = re.compile("[\n\r\t\u2028\u2029]+")
_COLOURS: Final = {
    "queued": "33", "leased": "36", "running": "36", "succeeded": "32", "failed": "31",
    "cancelled": "35", "up": "32", "silent": "31", "away": "33", "disabled": "33",
    "submitted": "36", "expired": "31", "missed": "31", "refused": "31", "overlapped": "33",
    "paused": "33",
}  # fmt: skip
# Least width of a table column on a narrow terminal.
_MIN_WIDTH: Final = 8
_NOT_CONFIRMED: Final = 1
_MAX_SECRET_BYTES: Final = 8192
# A message quotes what the user has given; of a value this long the begin tells enough.
_LONG_QUOTE: Final = re.compile(r"""(["'])([^"']{300,})\1""")
_SHOWN_LETTERS: Final = 60


class Cell(NamedTuple):
    """Text of a table cell, shown on a terminal in the colour of `state`."""

    text: str
    state: str = ""


class OutputStream:
    """Unbuffered writer of job output.

    Bytes are written unchanged; on a terminal, control characters are removed except line breaks
    and tabs.
    """

    def __init__(self, stream: TextIO) -> None:
        stream.flush()
        self._out = stream.buffer
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._is_terminal = stream.isatty()

    def write(self, data: bytes) -> None:
        if self._is_terminal:
            data = sanitize_output(self._decoder.decode(data)).encode()
        self._out.write(data)
        self._out.flush()


def is_coloured() -> bool:
    """Return whether stdout is a terminal and its user has not set NO_COLOR (no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and has_escape_sequences()


def has_escape_sequences() -> bool:
    """Return whether the terminal knows escape sequences; one inside Emacs does not."""
    return os.environ.get("TERM", "") not in ("", "dumb")


def colour(text: str, state: str) -> str:
    """Return the sanitized text, on a terminal in the colour of a job's or machine's state."""
    code = _COLOURS.get(state)
    text = sanitize(text)
    return f"\x1b[{code}m{text}\x1b[0m" if code and text and is_coloured() else text


def print_line(text: str = "") -> None:
    """Print text as one line without control characters."""
    print(sanitize(text))


def print_line_now(text: str) -> None:
    """Print a line and flush it, because a reader of a pipe may wait for it."""
    print(sanitize(text), flush=True)


class ProgressLine:
    """A line on stderr that is overwritten, shown only on a terminal."""

    # The line that is on the terminal, None if there is none.
    _shown: ClassVar[ProgressLine | None] = None

    def __init__(self) -> None:
        self.is_shown = sys.stderr.isatty() and has_escape_sequences()

    def show(self, line: str) -> None:
        if self.is_shown:
            ProgressLine._shown = self
            # A line that is wrapped could not be overwritten.
            text = sanitize(line)[: _get_width() - 1]
            print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        if ProgressLine._shown is self:
            self.clear_shown()

    @staticmethod
    def clear_shown() -> None:
        """Remove whatever line is shown, before something else is printed."""
        if ProgressLine._shown is not None:
            ProgressLine._shown = None
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _get_width() -> int:
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or 80
    except OSError:
        return 80


def print_message(sentence: str) -> None:
    """Print an error or a notice to stderr."""
    try:
        ProgressLine.clear_shown()
        sentence = _LONG_QUOTE.sub(_shorten_quote, sanitize(sentence))
        print(f"mythjobs: {sentence}", file=sys.stderr, flush=True)
    except OSError:
        # Ignore that stderr cannot be written: the exit code must not depend on it.
        redirect_to_null(2)


def _shorten_quote(found: re.Match[str]) -> str:
    quote, text = found[1], found[2]
    return f"{quote}{text[:_SHOWN_LETTERS]}…{quote} ({len(text)} characters)"


def redirect_to_null(fd: int) -> None:
    """Redirect `fd` to /dev/null, so that the flush of its buffer at exit cannot fail again."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, fd)
    os.close(devnull)


def print_json(value: object) -> None:
    import json

    ascii_only = (sys.stdout.encoding or "").lower().replace("-", "") != "utf8"
    print(escape_controls(json.dumps(value, ensure_ascii=ascii_only, indent=2)))


def print_fields(pairs: Iterable[tuple[str, str | Cell]]) -> None:
    """Print labels with their values, one per line; empty values are omitted."""
    cells = [(label, _to_cell(value)) for label, value in pairs]
    shown = [(label, cell) for label, cell in cells if cell.text]
    widest = max((display_width(label) for label, _ in shown), default=0)
    for label, cell in shown:
        print(f"{label}{' ' * (widest - display_width(label))}  {colour(*cell)}")


def print_table(
    headings: Sequence[str],
    rows: Iterable[Sequence[object]],
    right: Sequence[str] = (),
    max_length: int = 0,
) -> None:
    """Print rows under a header line; `right` names the right-aligned columns.

    On a terminal, empty columns are omitted, text longer than `max_length` is cut unless that is 0,
    and cells are wrapped so that the table fits the width. Elsewhere each row is one line.
    """
    table = [[_to_cell(each) for each in row] for row in rows]
    if max_length and sys.stdout.isatty():
        table = [[_shorten(each, max_length) for each in row] for row in table]
    columns = list(range(len(headings)))
    if sys.stdout.isatty():
        columns = [at for at in columns if not table or any(row[at].text for row in table)]
    widths = [
        max(display_width(text) for text in (headings[at], *(row[at].text for row in table)))
        for at in columns
    ]
    if sys.stdout.isatty():
        widths = fit_widths(widths, _get_terminal_width() - 2 * (len(widths) - 1))
    is_right = [headings[at] in right for at in columns]
    header, *body = [[Cell(each) for each in headings], *table]
    for line in _format_row([header[at] for at in columns], widths, is_right):
        print(f"\x1b[1m{line}\x1b[0m" if is_coloured() else line)
    for row in body:
        for line in _format_row([row[at] for at in columns], widths, is_right):
            print(line)


def _to_cell(value: object) -> Cell:
    text, state = value if isinstance(value, Cell) else (value, "")
    return Cell(sanitize(text), state)


def _shorten(cell: Cell, length: int) -> Cell:
    return cell if len(cell.text) <= length else Cell(f"{cell.text[: length - 1]}…", cell.state)


def _format_row(
    row: Sequence[Cell], widths: Sequence[int], is_right: Sequence[bool]
) -> Iterator[str]:
    wrapped = [wrap(cell.text, width) for cell, width in zip(row, widths, strict=True)]
    for at in range(max(map(len, wrapped))):
        parts = []
        for cell, lines, width, right in zip(row, wrapped, widths, is_right, strict=True):
            text = lines[at] if at < len(lines) else ""
            gap = " " * (width - display_width(text))
            shown = colour(text, cell.state)
            parts.append(gap + shown if right else shown + gap)
        yield "  ".join(parts).rstrip()


def fit_widths(widths: Sequence[int], limit: int) -> list[int]:
    """Return column widths, of which the widest are reduced until their sum is `limit`."""
    fitted = list(widths)
    while sum(fitted) > limit and max(fitted) > _MIN_WIDTH:
        fitted[fitted.index(max(fitted))] -= 1
    return fitted


def wrap(text: str, width: int) -> list[str]:
    """Return the text in lines of at most `width` columns, broken at blanks where possible."""
    if display_width(text) <= width:
        return [text]
    lines, line = list[str](), ""
    for word in text.split(" "):
        joined = f"{line} {word}" if line else word
        if display_width(joined) <= width:
            line = joined
            continue
        if line:
            lines.append(line)
        while display_width(word) > width > 1:
            size = width
            while display_width(word[:size]) > width:
                size -= 1
            lines.append(word[:size])
            word = word[size:]
        line = word
    return [*lines, line]


def _get_terminal_width() -> int:
    columns = os.environ.get("COLUMNS", "")
    try:
        return int(columns) if columns.isdecimal() else os.get_terminal_size(1).columns or 80
    except OSError:
        return 80


def sanitize(text: object) -> str:
    """Return text as one line without control characters."""
    return _CONTROL.sub("", _LINE_BREAKS.sub(" ", str(text)))


def sanitize_output(text: str) -> str:
    """Return job output without control characters except line breaks and tabs."""
    return _CONTROL.sub(lambda found: found[0] * (found[0] in _KEPT_IN_OUTPUT), text)


def escape_controls(json: str) -> str:
    r"""Return JSON with control characters as \u escapes, except its own line breaks."""
    return _CONTROL.sub(
        lambda found: found[0] if found[0] == "\n" else f"\\u{ord(found[0]):04x}", json
    )


def display_width(text: str) -> int:
    """Return the columns that text takes: wide characters take two, combining marks none."""
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(
        0 if combining(each) or each in "\u200d\ufe0f" else 1 + (east_asian_width(each) in "WF")
        for each in text
    )


def read_secret(name: str) -> str:
    """Return a secret: what the user types without echo, or the first line of stdin if that is no
    terminal. Raises BadRequest."""
    if sys.stdin.isatty():
        import click

        return str(click.prompt(name, hide_input=True, err=True)).strip()
    line = sys.stdin.buffer.readline(_MAX_SECRET_BYTES + 1)
    if len(line) > _MAX_SECRET_BYTES:
        raise BadRequest(
            f"{name}: the first line of stdin has more than {_MAX_SECRET_BYTES} bytes; give it "
            "only the secret"
        )
    try:
        return line.decode().strip()
    except UnicodeDecodeError:
        raise BadRequest(f"{name}: the first line of stdin is not UTF-8 text") from None


def confirm(action: str, yes: bool) -> None:
    """Ask the user to confirm the action unless `yes` is set.

    Exits with 1 if the answer is no. Raises BadRequest where stdin is not a terminal.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise BadRequest(f"{action}; stdin is not a terminal, so give --yes to confirm")
    import click

    if not click.confirm(f"{action}; go on?", default=False, err=True):
        print_message("nothing was changed")
        raise click.exceptions.Exit(_NOT_CONFIRMED)
