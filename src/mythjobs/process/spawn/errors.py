"""Reasons why a program could not be started, written for the author of its command."""

from __future__ import annotations

import errno
import os

from mythjobs.model.outcome import NotStarted


class CannotStart(Exception):
    """The program was not started. `errno` is the kernel's, or 0 if exec was not attempted."""

    def __init__(self, number: int, sentence: str) -> None:
        super().__init__(sentence)
        self.errno = number
        self.sentence = sentence

    def outcome(self) -> NotStarted:
        return NotStarted(self.errno, self.sentence)


def setup_error(error: OSError, what: str) -> CannotStart:
    """Return the error for `what` (a directory, an input file, a pipe) that failed before exec."""
    number = error.errno or 0
    return CannotStart(number, f"{what}: {os.strerror(number) if number else error}")


def is_shortage(error: OSError) -> bool:
    """Return whether descriptors, memory or processes were lacking, which may pass."""
    return error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN)


def escape_undecodable(text: str) -> str:
    """Show bytes that were not UTF-8 as escapes, so the text can be encoded anywhere."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
