"""Text between a person and the master: exact on the way in, harmless on the way out."""

from __future__ import annotations

import os
import re
from typing import Final

# C0 and C1 control characters and the marks that turn the direction of writing: text of a job
# could move the cursor with them, set a title, or look like something else.
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_HARMLESS_IN_OUTPUT: Final = "\n\t\r"
_LINE_BREAKS: Final = re.compile("[\n\r\t]+")


def decode_argument(given: str) -> str:
    """The text whose UTF-8 is what stands on the command line, whatever the locale.

    Raises ValueError with the rest of a sentence that begins with what was given.
    """
    try:
        return os.fsencode(given).decode("utf-8")
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise ValueError(f"is not valid UTF-8 (byte {error.start + 1} is 0x{byte:02x})") from None
    except UnicodeEncodeError:  # a lone surrogate that came from no byte
        raise ValueError("is not valid Unicode") from None


def sanitize(text: object) -> str:
    """As one line for a person: without control characters."""
    return _CONTROL.sub("", _LINE_BREAKS.sub(" ", str(text)))


def sanitize_output(text: str) -> str:
    """A job's output for a terminal: lines and tabs stay, all else that controls it goes."""
    return _CONTROL.sub(lambda found: found[0] * (found[0] in _HARMLESS_IN_OUTPUT), text)


def escape_controls(json: str) -> str:
    r"""JSON with what controls a terminal as \u escapes; its line breaks are its own."""
    return _CONTROL.sub(
        lambda found: found[0] if found[0] == "\n" else f"\\u{ord(found[0]):04x}", json
    )


def display_width(text: str) -> int:
    """Columns on a terminal: wide characters and emoji take two, marks on others none."""
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(
        0 if combining(each) or each in "\u200d\ufe0f" else 1 + (east_asian_width(each) in "WF")
        for each in text
    )
