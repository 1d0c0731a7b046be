"""`mythjobs up` and `mythjobs master` start the queue; `mythjobs status` shows it."""

from __future__ import annotations

import os
from typing import Any, Final

import click

from mythjobs.cli import terminal
from mythjobs.cli.options import CEILING, TEXT, IntegerType
from mythjobs.cli.session import Session, command, json_option, pass_session
from mythjobs.cli.status_text import print_status
from mythjobs.model.log_line import FORMATS, VARIABLE
from mythjobs.protocol.joining import DEFAULT_PORT

_EXAMPLES: Final = """Examples:
  mythjobs up
  mythjobs up --jobs 2 --stop-jobs
  mythjobs up --store postgresql://mythjobs@/mythjobs"""

_port_option = click.option(
    "--port",
    default=DEFAULT_PORT,
    show_default=True,
    type=IntegerType(0, 65535),
    help="Port on this machine; 0 chooses a free one and prints it.",
)


class _JobLimit(click.ParamType["int | None"]):
    """Maximum number of jobs at once; `auto`, which is None, for no maximum."""

    name = "integer"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | None:
        jobs = CEILING.convert(value, param, ctx)
        return jobs if isinstance(jobs, int) else None


jobs_option = click.option(
    "--jobs",
    type=_JobLimit(),
    metavar="N|auto",
    help="At most N jobs at once on this machine. Default: auto, as many as the machine's load "
    "permits.",
)
no_scaling_option = click.option(
    "--no-scaling",
    is_flag=True,
    help="Ignore the load: run as many jobs as --jobs says, by default one per core.",
)


def _choose_log_format(_: click.Context, __: click.Parameter, value: str | None) -> None:
    if value is not None:
        os.environ[VARIABLE] = value  # agent and reaper inherit it


log_format_option = click.option(
    "--log-format",
    type=click.Choice(FORMATS),
    callback=_choose_log_format,
    expose_value=False,
    help=f"Format of the log. Default: {VARIABLE}, else text, in the journal logfmt.",
)
_store_option = click.option(
    "--store",
    type=TEXT,
    metavar="URL",
    help="PostgreSQL database to use instead of a file in the state directory. Set a URL with a "
    "password in MYTHJOBS_STORE or master.toml instead.",
)


@command("up", epilog=_EXAMPLES)
@_port_option
@jobs_option
@no_scaling_option
@_store_option
@log_format_option
@click.option("--stop-jobs", is_flag=True, help="At exit, also end running jobs.")
@pass_session
def up(
    session: Session,
    port: int,
    jobs: int | None,
    no_scaling: bool,
    store: str | None,
    stop_jobs: bool,
) -> int:
    """Start a queue on this machine: master and agent.

    Ctrl-C or SIGTERM ends both. Running jobs continue, and the next `mythjobs up` takes them
    over; with --stop-jobs they are ended.
    """
    from mythjobs.config.state import open_state
    from mythjobs.web.server.program import run_master

    return run_master(
        open_state(session.state_dir),
        port=port,
        jobs=jobs,
        local_agent=True,
        has_scaling=not no_scaling,
        stop_jobs=stop_jobs,
        store=store,
        ready=lambda address: _print_ready("mythjobs is up", address, session),
    )


@command("master")
@_port_option
@_store_option
@log_format_option
@pass_session
def master(session: Session, port: int, store: str | None) -> int:
    """Start only the master, which runs no jobs itself."""
    from mythjobs.config.state import open_state
    from mythjobs.web.server.program import run_master

    return run_master(
        open_state(session.state_dir),
        port=port,
        jobs=None,
        local_agent=False,
        stop_jobs=False,
        store=store,
        ready=lambda address: _print_ready("mythjobs master is up", address, session),
    )


def _print_ready(program: str, address: str, session: Session) -> None:
    from mythjobs.config.state import lookup_user_name

    user = lookup_user_name(os.getuid())
    terminal.print_line_now(f"{program} on {address}, state in {session.root}; jobs run as {user}")


@command("status")
@json_option
@pass_session
def status(session: Session, as_json: bool) -> None:
    """Show the numbers of queued and running jobs, and the machines."""
    # Only for command lines that quick_status.py does not parse, such as --help.
    print_status(session.client().get("status"), as_json=as_json)
