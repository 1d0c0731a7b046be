"""Command lines that run without click: finds the command and `--state-dir`."""

from __future__ import annotations

from itertools import islice


def split(
    arguments: list[str], command: str, valued: tuple[str, ...] = ()
) -> tuple[str | None, list[str]] | None:
    """Return the value of `--state-dir` and what follows the command.

    Return None for any other command line, which click has to parse. valued: the command's options
    that have a value.
    """
    state_dir: str | None = None
    after: list[str] | None = None
    rest = iter(arguments)
    for each in rest:
        if each == "--state-dir":
            state_dir = next(rest, "-")
            if state_dir.startswith("-"):
                return None  # click decides whether that is an option or an error
        elif after is not None:
            after.append(each)
            if each in valued:
                after.extend(islice(rest, 1))
        elif each == command:
            after = []
        else:
            return None
    return None if after is None else (state_dir, after)
