"""`mythjobs status` without click: parses only the usual command lines, and runs these."""

from __future__ import annotations

from typing import NamedTuple

from mythjobs.cli import connect, quick_arguments


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
    found = quick_arguments.split(arguments, "status")
    if found is None or any(each != "--json" for each in found[1]):
        return None
    return StatusOptions(found[0], as_json="--json" in found[1])
