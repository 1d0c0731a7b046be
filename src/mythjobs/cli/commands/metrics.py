"""`mythjobs metrics`: metrics for Prometheus, and the token with which it reads them."""

from __future__ import annotations

import sys

import click

from mythjobs.cli import terminal
from mythjobs.cli.session import Session, command, pass_session


@command("show", epilog="Example:\n  mythjobs metrics show | grep queued")
@pass_session
def show(session: Session) -> None:
    """Print the metrics, in the text format of Prometheus.

    Histograms and counters begin with the first time that metrics are read after a start of the
    master.
    """
    session.client().stream("/metrics", {}, sys.stdout.buffer.write)


@command("token")
@click.option("--new", "is_new", is_flag=True, help="Replace the token; the old one is refused.")
@pass_session
def token(session: Session, is_new: bool) -> None:
    """Print the token with which Prometheus reads /metrics; it is created at the first call.

    It permits nothing else. Its file can serve as credentials_file of a scrape configuration.
    """
    from mythjobs.config.state import open_state
    from mythjobs.config.tokens import load_or_create_metrics_token

    state = open_state(session.state_dir)
    terminal.print_line(load_or_create_metrics_token(state, is_new=is_new))
    terminal.print_message(f"the token is in {state.metrics_token}")


metrics_group = click.Group(
    "metrics",
    commands=[show, token],
    no_args_is_help=True,
    help="Metrics of queue, machines and master, for Prometheus and Grafana.",
)
