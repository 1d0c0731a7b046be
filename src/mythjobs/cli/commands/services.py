"""`mythjobs up`, `master` and `agent`: the programs that go on running."""

from __future__ import annotations

import os
from typing import Final

import click

from mythjobs.cli import terminal
from mythjobs.cli.session import TEXT, Session, command, pass_session

PORT: Final = 6545
_EXAMPLES: Final = """Examples:
  mythjobs up
  mythjobs up --jobs 2 --stop-jobs
  mythjobs up --store postgresql://mythjobs@/mythjobs"""

_port_option = click.option(
    "--port",
    default=PORT,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="The port on this machine; 0 takes a free one, which is printed.",
)
_jobs_option = click.option(
    "--jobs",
    type=click.IntRange(min=0),
    metavar="N",
    help="At most N jobs at once on this machine; else as many as it has cores.",
)
_store_option = click.option(
    "--store",
    type=TEXT,
    metavar="URL",
    help="A PostgreSQL database instead of a file in the state directory. With a password better "
    "in MYTHJOBS_STORE, or in master.toml there.",
)


@command("up", epilog=_EXAMPLES)
@_port_option
@_jobs_option
@_store_option
@click.option("--stop-jobs", is_flag=True, help="At the end, end running jobs too.")
@pass_session
def up(session: Session, port: int, jobs: int | None, store: str | None, stop_jobs: bool) -> int:
    """Start a queue on this machine: master and agent.

    Ctrl-C or SIGTERM ends it. Jobs that run go on, and the next `mythjobs up` takes them over;
    with --stop-jobs they are ended.
    """
    from mythjobs.config.state import open_state
    from mythjobs.web.server.program import run_master

    return run_master(
        open_state(session.state_dir),
        port=port,
        jobs=jobs,
        local_agent=True,
        stop_jobs=stop_jobs,
        store=store,
        ready=lambda address: _print_ready("mythjobs is up", address, session),
    )


@command("master")
@_port_option
@_store_option
@pass_session
def master(session: Session, port: int, store: str | None) -> int:
    """Start the master alone: the queue, without running jobs here."""
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


@command("agent")
@click.option("--name", type=TEXT, help="What this machine is called; else its host name.")
@_jobs_option
@click.option("--stop-jobs", is_flag=True, help="At the end, end running jobs too.")
@pass_session
def agent(session: Session, name: str | None, jobs: int | None, stop_jobs: bool) -> None:
    """Start the agent alone: run jobs on this machine."""
    from mythjobs.agent.service import run_agent
    from mythjobs.config.state import open_state

    run_agent(open_state(session.state_dir), name=name, jobs=jobs, stop_jobs=stop_jobs)


def _print_ready(words: str, address: str, session: Session) -> None:
    from mythjobs.config.state import lookup_user_name

    user = lookup_user_name(os.getuid())
    terminal.print_line_now(f"{words} on {address}, state in {session.root}; jobs run as {user}")
