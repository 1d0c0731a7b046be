"""Options that `mythjobs submit`, `run`, `rerun` and `set` share, and the fields of their
requests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeVar

import click

from mythjobs import clock
from mythjobs.cli.options import (
    AFTER,
    INSTANT,
    LABEL,
    LIMIT,
    MACHINE,
    PARAMETER,
    TEXT,
    UNITS,
    IntegerType,
    refuse_duplicates,
)
from mythjobs.cli.times import format_time
from mythjobs.client.client import Json
from mythjobs.errors import BadRequest

F = TypeVar("F", bound=Callable[..., Any])
Decorator = Callable[[Any], Any]


class SubmitOptions(NamedTuple):
    """Values of the shared options."""

    subject: str | None
    priority: int
    after: tuple[Json, ...]
    key: str | None
    hold: bool
    not_before_ms: int | None
    deadline_ms: int | None
    machine: str
    await_machine: bool
    prefer: str
    label: tuple[str, ...]
    semaphore: tuple[tuple[str, int], ...]
    comment: str

    def build_body(self, limits: dict[str, str | int]) -> Json:
        """Return the fields of a submit. Optional ones are left out if they are not given, because
        a master of an older version refuses fields that it does not know."""
        fields: Json = {
            "subject": self.subject,
            "priority": self.priority,
            "after": list(self.after),
            "key": self.key,
            "hold": self.hold,
            "comment": self.comment,
        }
        optional = {
            "not_before_ms": self.not_before_ms,
            "deadline_ms": self.deadline_ms,
            "machine": self.machine,
            "await_machine": self.await_machine,
            "prefer": self.prefer,
            "labels": list(self.label),
            "semaphores": dict(self.semaphore),
            "limits": limits,
        }
        return fields | {name: value for name, value in optional.items() if value}

    def build_query(self) -> Json:
        """Return the parameters of a batch, but for its limits."""
        return {
            "subject": self.subject,
            "priority": self.priority,
            "hold": self.hold,
            "comment": self.comment,
            "machine": self.machine or None,
            "await_machine": self.await_machine or None,
            "prefer": self.prefer or None,
            "label": self.label,
            "semaphore": [f"{key}={units}" for key, units in self.semaphore],
            "not_before_ms": self.not_before_ms,
            "deadline_ms": self.deadline_ms,
        }


def _refuse_past(
    context: click.Context, option: click.Parameter, deadline_ms: int | None
) -> int | None:
    if deadline_ms is not None and deadline_ms <= clock.master_now().wall_ms:
        raise BadRequest(
            f"the deadline, {format_time(deadline_ms)}, is in the past, so the job would be "
            "cancelled at once; give a later time"
        )
    return deadline_ms


def _priority_option(default: int | None) -> Decorator:
    return click.option(
        "--priority",
        type=IntegerType(-100, 100),
        default=default,
        help="-100 to 100; higher starts first.",
    )


def _comment_option(default: str | None) -> Decorator:
    return click.option("--comment", type=TEXT, default=default, help="A note, shown with the job.")


# Options that only a new job has.
_OF_NEW_JOBS: Final = (
    click.option(
        "--after",
        type=AFTER,
        multiple=True,
        metavar="JOB[:any|:failure]",
        help="Start after this job has succeeded (:any ended, :failure failed). Repeatable.",
    ),
    click.option(
        "--key", type=TEXT, help="A second submit with the same key returns the first job."
    ),
    click.option("--hold", is_flag=True, help="Hold until `mythjobs release`."),
)
_REQUIREMENTS: Final = (
    click.option(
        "--not-before",
        "not_before_ms",
        type=INSTANT,
        metavar="TIME",
        help='Do not start before: "+2h", "22:00" or "2026-11-03 22:00".',
    ),
    click.option(
        "--deadline",
        "deadline_ms",
        type=INSTANT,
        metavar="TIME",
        callback=_refuse_past,
        help="Cancel the job if it has not started by then.",
    ),
    click.option("--machine", type=MACHINE, default="", help="Run only on this machine."),
    click.option(
        "--await-machine",
        is_flag=True,
        help="Accept a --machine that has not joined yet; the job waits until it does.",
    ),
    click.option(
        "--prefer", type=MACHINE, default="", help="Run on this machine if there is room."
    ),
    click.option("--label", type=LABEL, multiple=True, help="Run on a machine with this label."),
    click.option(
        "--semaphore",
        type=UNITS,
        multiple=True,
        callback=refuse_duplicates,
        metavar="NAME[=N]",
        help="Hold N units of a semaphore while running.",
    ),
)
_OPTIONS: Final = (
    click.option(
        "--subject",
        type=TEXT,
        help="What the job is about, instead of the command's subject. Jobs about the same thing "
        "run one after the other.",
    ),
    _priority_option(0),
    *_OF_NEW_JOBS,
    *_REQUIREMENTS,
    _comment_option(""),
)


def submit_options(function: F) -> F:
    """Add the options whose values a SubmitOptions holds to a command."""
    return _add(function, _OPTIONS)


class ChangeOptions(NamedTuple):
    """Values of the options that change a job; what is not given stays as it is."""

    params: tuple[tuple[str, str], ...]
    limit: tuple[tuple[str, str | int], ...]
    priority: int | None
    not_before_ms: int | None
    deadline_ms: int | None
    machine: str
    await_machine: bool
    any_machine: bool
    prefer: str
    label: tuple[str, ...]
    semaphore: tuple[tuple[str, int], ...]
    comment: str | None

    def build_changes(self, arguments: dict[str, str]) -> Json:
        """Return the field `changes` of a request, with these arguments. Raises BadRequest."""
        if self.any_machine and (self.machine or self.label):
            raise BadRequest("--any-machine lifts --machine and --label, so give it without them")
        given = {
            "arguments": arguments or None,
            "limits": dict(self.limit) or None,
            "priority": self.priority,
            "not_before_ms": self.not_before_ms,
            "deadline_ms": self.deadline_ms,
            "machine": "" if self.any_machine else self.machine or None,
            "await_machine": self.await_machine or None,
            "prefer": self.prefer or None,
            "labels": [] if self.any_machine else list(self.label) or None,
            "semaphores": dict(self.semaphore) or None,
            "comment": self.comment,
        }
        return {name: value for name, value in given.items() if value is not None}


PARAMETER_OPTION: Final = click.option(
    "-p", "--param", "params", multiple=True, type=PARAMETER, metavar="NAME=VALUE",
    help="An argument. Paths may be relative to the current directory.",
)  # fmt: skip
PRINT_ID_OPTION: Final = click.option(
    "--print-id", is_flag=True, help="Print only the id, for scripts; those of a batch as 10-20."
)
LIMIT_OPTION: Final = click.option(
    "--limit", type=LIMIT, multiple=True, callback=refuse_duplicates, metavar="KEY=VALUE",
    help="Limit wall, cpu, idle, memory, output or processes, the grace period, nice or io. The "
    "tighter of this and the command's limit applies.",
)  # fmt: skip
_CHANGES: Final = (
    PARAMETER_OPTION,
    _priority_option(None),
    *_REQUIREMENTS,
    click.option(
        "--any-machine",
        is_flag=True,
        help="Run on any machine that may run the command, whatever --machine and --label were.",
    ),
    LIMIT_OPTION,
    _comment_option(None),
)


def change_options(function: F) -> F:
    """Add the options whose values a ChangeOptions holds to a command."""
    return _add(function, _CHANGES)


def new_job_options(function: F) -> F:
    """Add `--after`, `--key` and `--hold` to a command."""
    return _add(function, _OF_NEW_JOBS)


def _add(function: F, options: tuple[Decorator, ...]) -> F:
    for each in reversed(options):
        function = each(function)
    return function
