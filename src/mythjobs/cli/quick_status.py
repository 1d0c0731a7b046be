"""`mythjobs status` without click: parses only the usual command lines, and runs these."""

from __future__ import annotations

from typing import NamedTuple

from mythjobs.cli import connect


class StatusOptions(NamedTuple):
    state_dir: str | None
    as_json: bool


def run(options: StatusOptions) -> None:
    """Run `mythjobs status`. Raises MythJobsError."""
    from mythjobs.cli.status_text import print_status

    found = connect.open_client(options.state_dir).get("status")
    print_status(found, as_json=options.as_json)


def parse(arguments: list[str]) -> StatusOptions | None:
    """Return the options of `mythjobs status`, with `--json` and `--state-dir` or without.

    Return None for any other command line, which click has to parse.
    """
    state_dir, as_json, is_status = None, False, False
    rest = iter(arguments)
    for each in rest:
        if each == "--state-dir":
            state_dir = next(rest, "-")
            if state_dir.startswith("-"):
                return None  # click decides whether that is an option or an error
        elif each == "status" and not is_status:
            is_status = True
        elif each == "--json" and is_status:
            as_json = True
        else:
            return None
    return StatusOptions(state_dir, as_json) if is_status else None
