"""Errors for programs that could not be started, with sentences for the author of the command."""

from __future__ import annotations

import os

from mythjobs.model.outcome import NotStarted
from mythjobs.process.event_loop import log_exception


class CannotStart(Exception):
    """The program was not started. `errno` is the error number of the failed system call, or 0 if
    no system call failed, as for an invalid argument."""

    def __init__(self, number: int, sentence: str) -> None:
        super().__init__(sentence)
        self.errno = number
        self.sentence = sentence

    def outcome(self) -> NotStarted:
        return NotStarted(self.errno, self.sentence)


def setup_error(error: OSError, what: str) -> CannotStart:
    """Return the error for a step before exec that failed with `error`. `what` names the step or
    its object, such as an input file or a pipe."""
    number = error.errno or 0
    return CannotStart(number, f"{what}: {os.strerror(number) if number else error}")


def describe_failure(error: Exception) -> NotStarted:
    """Return the outcome of a program whose start failed with `error`. Log a bug."""
    if isinstance(error, CannotStart):
        return error.outcome()
    if isinstance(error, OSError):
        return setup_error(error, "creating a process").outcome()
    log_exception(error)
    return NotStarted(0, f"internal error: {error!r}")


def escape_undecodable(text: str) -> str:
    """Return the text with backslash escapes in place of surrogates, which stand for bytes that are
    not UTF-8 (PEP 383), so that the text can be encoded."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
