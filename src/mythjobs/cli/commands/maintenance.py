"""`mythjobs check`, `backup` and `prune`: invariants, copies and old jobs of the store."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

import click

from mythjobs import clock
from mythjobs.cli import terminal
from mythjobs.cli.options import DURATION, STATES
from mythjobs.cli.paths import resolve_path
from mythjobs.cli.session import Session, command, json_option, pass_session, yes_option
from mythjobs.cli.terminal import confirm
from mythjobs.cli.times import format_time
from mythjobs.client.client import Json
from mythjobs.errors import BadRequest, Unreachable
from mythjobs.model.life import FINAL, JobState
from mythjobs.model.units import humanize_size

_EXIT_VIOLATED: Final = 1


@command("check", epilog="Example:\n  mythjobs check")
@json_option
@pass_session
def check(session: Session, as_json: bool) -> int:
    """Check the invariants of the store.

    No job is lost, none runs twice at once, counters are right, and more. A running master checks
    its own store and continues to work. If no master runs, the store is opened here, and no
    master can start until the check ends. Exits with 1 if an invariant is violated.
    """
    try:
        found = session.client().get("check", timeout_s=None)
    except Unreachable:
        found = _check_offline(session)
    if as_json:
        terminal.print_json(found)
    elif not found["count"]:
        terminal.print_line("all invariants of the store hold")
    for each in found["violations"]:
        terminal.print_message(f"{each['invariant']}: {each['sentence']}")
    if found["count"] > len(found["violations"]):
        terminal.print_message(f"and {found['count'] - len(found['violations'])} more")
    return _EXIT_VIOLATED if found["count"] else 0


def _check_offline(session: Session) -> Json:
    from mythjobs.config import locks
    from mythjobs.config.settings import choose_store
    from mythjobs.config.state import open_state
    from mythjobs.store.invariants import run as checks
    from mythjobs.store.open import open_store

    state = open_state(session.state_dir, create=False)
    where = choose_store(state, None, os.environ)
    if isinstance(where, Path) and not where.exists():
        raise Unreachable(f"no master runs for {session.root}, and there is no store to check")
    with locks.acquire(state.master_lock, "a master"):
        store = open_store(where)
        try:
            with store.snapshot(long=True) as tx:
                found = checks.check(tx)
        finally:
            store.close()
    violations = [
        {"invariant": each.invariant, "job": each.job_id, "sentence": each.sentence}
        for each in found
    ]
    return {"violations": violations, "count": len(violations)}


@command(
    "backup",
    epilog="Examples:\n  mythjobs backup /srv/backup/mythjobs-$(date +%F).db\n"
    "To go back: stop the master, then run `mythjobs restore FILE`. A copy put in place of\n"
    "  store.db by hand would reuse ids of jobs.",
)
@click.argument("file", type=click.Path())
@json_option
@pass_session
def backup(session: Session, file: str, as_json: bool) -> None:
    """Copy the store to a new file while the master runs.

    The copy is a consistent snapshot. Back up a PostgreSQL store with pg_dump. Job output is not
    part of the store.
    """
    from mythjobs.store.backends.backup import back_up

    target = Path(resolve_path(file, "new file"))
    size = back_up(_find_store(session), target)
    if as_json:
        terminal.print_json({"file": str(target), "bytes": size})
    else:
        terminal.print_line(f"store copied to {target} ({humanize_size(size)})")


def _find_store(session: Session) -> str | Path:
    """Return the store of the running master, else the one that a new master would use."""
    from mythjobs.config.settings import choose_store
    from mythjobs.config.state import open_state

    state = open_state(session.state_dir, create=False)
    try:
        return str(session.client().get("status")["store"])
    except Unreachable:
        return choose_store(state, None, os.environ)


@command(
    "prune",
    epilog="Examples:\n  mythjobs prune --older-than 30d\n"
    "  mythjobs prune --older-than 7d --state succeeded --yes",
)
@click.option(
    "--older-than", "age_s", type=DURATION, required=True, metavar="DURATION",
    help="Jobs that ended longer ago than this.",
)  # fmt: skip
@click.option(
    "--state", "states", type=STATES, default=tuple(sorted(FINAL)), metavar="STATE[,STATE…]",
    help="Jobs in these final states. Default: all.",
)  # fmt: skip
@yes_option
@json_option
@pass_session
def prune(
    session: Session, age_s: float, states: tuple[str, ...], yes: bool, as_json: bool
) -> None:
    """Delete jobs that ended long ago, with their output and history.

    Jobs of an open batch, and jobs that an open job depends on, are kept. The number of jobs is
    shown for confirmation.
    """
    for each in states:
        if JobState(each) not in FINAL:
            raise BadRequest(
                f"prune does not apply to {each} jobs, only to {' or '.join(sorted(FINAL))}"
            )
    client = session.client()
    # The API refuses an instant before 1970.
    before_ms = max(0, clock.master_now().wall_ms - round(1000 * age_s))
    query = {"state": ",".join(states), "ended_before_ms": before_ms}
    counts: dict[str, Any] = client.get("jobs/count", query)["counts"]
    selected = [f"{count} {state}" for state, count in counts.items() if count]
    done: Json = {"jobs": 0}
    if selected:
        confirm(f"delete {' and '.join(selected)} jobs ended before {format_time(before_ms)}", yes)
        done = client.post(
            "jobs/prune", {"before_ms": before_ms, "states": list(states)}, timeout_s=None
        )
    if as_json:
        terminal.print_json(done)
    else:
        terminal.print_line(
            "1 job deleted" if done["jobs"] == 1 else f"{done['jobs'] or 'no'} jobs deleted"
        )
