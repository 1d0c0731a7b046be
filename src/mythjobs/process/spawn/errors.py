"""Why a program could not be started, in one sentence for whoever wrote its command."""

from __future__ import annotations

import errno
import os

from mythjobs.model.outcome import NotStarted


class CannotStart(Exception):
    """There is no process: `errno` is the kernel's answer, 0 if it was not asked."""

    def __init__(self, number: int, sentence: str) -> None:
        super().__init__(sentence)
        self.errno = number
        self.sentence = sentence

    def outcome(self) -> NotStarted:
        return NotStarted(self.errno, self.sentence)


def at_exec(number: int, program: str, search: str, present: bool) -> CannotStart:
    """exec(2) failed. `search` is the PATH of its environment, `present` whether it is there."""
    name = printable(program)
    match number:
        case errno.ENOENT if present:
            why = f"the interpreter that {name} names in its first line does not exist"
        case errno.ENOENT if "/" in program:
            why = f"{name} does not exist"
        case errno.ENOENT:
            why = f"there is no program {name} in its PATH ({printable(search)})"
        case errno.EACCES:
            why = f"{name} may not be executed: it is no executable file, or is out of reach"
        case errno.E2BIG:
            why = "its arguments and environment are longer than the kernel takes"
        case errno.ENOEXEC:
            why = f"{name} is not a program: it has no #! line and no format the kernel knows"
        case _:
            why = f"{name}: {os.strerror(number)}"
    return CannotStart(number, why)


def at_preparing(error: OSError, what: str) -> CannotStart:
    """Something that it needs could not be had: its directory, its input, a pipe."""
    number = error.errno or 0
    return CannotStart(number, f"{what}: {os.strerror(number) if number else error}")


def printable(text: str) -> str:
    """Bytes that were not UTF-8 are shown as escapes, so the sentence can go anywhere."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
