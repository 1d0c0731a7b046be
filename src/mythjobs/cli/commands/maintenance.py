"""`mythjobs check`, `backup` and `prune`: is the store sound, is it safe, what is old in it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

import click

from mythjobs import clock
from mythjobs.cli import terminal
from mythjobs.cli.asking import confirm, yes_option
from mythjobs.cli.options import DURATION, STATES
from mythjobs.cli.paths import absolute_path, get_current_directory
from mythjobs.cli.session import Session, command, json_option, pass_session
from mythjobs.cli.texts import sanitize
from mythjobs.cli.times import format_time
from mythjobs.client.client import Json
from mythjobs.errors import BadRequest, Unreachable
from mythjobs.model.life import FINAL, JobState
from mythjobs.model.units import humanize_size

_BROKEN: Final = 1


@command("check", epilog="Example:\n  mythjobs check")
@json_option
@pass_session
def check(session: Session, as_json: bool) -> int:
    """Look whether the store keeps its promises.

    No job is lost, none runs twice at once, counts are right, and more. While a master runs it
    is asked, and goes on meanwhile; else the store is opened here, and no master can start until
    it is done. Exits with 1 if a promise is broken.
    """
    try:
        found = session.client().get("check", timeout_s=None)
    except Unreachable:
        found = _check_offline(session)
    if as_json:
        terminal.print_json(found)
    elif not found["count"]:
        terminal.print_line("the store keeps its promises")
    for each in found["violations"]:
        terminal.print_message(f"{each['invariant']}: {each['sentence']}")
    if found["count"] > len(found["violations"]):
        terminal.print_message(f"and {found['count'] - len(found['violations'])} more")
    return _BROKEN if found["count"] else 0


def _check_offline(session: Session) -> Json:
    from mythjobs.config import locks
    from mythjobs.config.settings import choose_store
    from mythjobs.config.state import open_state
    from mythjobs.store.invariants import run as checks
    from mythjobs.store.open import open_store

    state = open_state(session.state_dir, create=False)
    where = choose_store(state, None, os.environ)
    if isinstance(where, Path) and not where.exists():
        raise Unreachable(f"no master runs on {session.root}, and there is no store to look at")
    with locks.acquire(state.master_lock, "a master"):
        store = open_store(where)
        try:
            with store.snapshot() as tx:
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
    "To go back: stop the master, then `mythjobs restore FILE`, which gives no number of a job\n"
    "  twice, as the copy in the place of store.db would.",
)
@click.argument("file", type=click.Path())
@json_option
@pass_session
def backup(session: Session, file: str, as_json: bool) -> None:
    """Copy the store to a new file while the master goes on.

    The copy is whole and of one instant. A store in PostgreSQL is backed up with pg_dump. Kept
    output is not in the store.
    """
    from mythjobs.store.backends.backup import back_up

    target = Path(absolute_path(file, get_current_directory()))
    size = back_up(_find_store(session), target)
    if as_json:
        terminal.print_json({"file": str(target), "bytes": size})
    else:
        terminal.print_line(sanitize(f"{target} holds the store ({humanize_size(size)})"))


def _find_store(session: Session) -> str | Path:
    """What the running master uses, else what one that is started would."""
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
    help="Jobs that have been over for longer than this.",
)  # fmt: skip
@click.option(
    "--state", "states", type=STATES, default=tuple(sorted(FINAL)), metavar="STATE[,STATE…]",
    help="Only succeeded, failed or cancelled ones.",
)  # fmt: skip
@yes_option
@json_option
@pass_session
def prune(
    session: Session, age_s: float, states: tuple[str, ...], yes: bool, as_json: bool
) -> None:
    """Delete jobs that have been over for long.

    With their output and history. Those stay that an open batch or an open job needs. How many
    those are is said first.
    """
    for each in states:
        if JobState(each) not in FINAL:
            raise BadRequest(f"a {each} job is not over; only {' or '.join(sorted(FINAL))}")
    client = session.client()
    # Nothing ended before 1970.
    before_ms = max(0, clock.master_now().wall_ms - round(1000 * age_s))
    query = {"state": ",".join(states), "ended_before_ms": before_ms}
    counts: dict[str, Any] = client.get("jobs/count", query)["counts"]
    meant = [f"{count} {state}" for state, count in counts.items() if count]
    done: Json = {"jobs": 0}
    if meant:
        confirm(f"{' and '.join(meant)} before {format_time(before_ms)} are deleted for good", yes)
        done = client.post(
            "jobs/prune", {"before_ms": before_ms, "states": list(states)}, timeout_s=None
        )
    if as_json:
        terminal.print_json(done)
    else:
        terminal.print_line(
            "1 job deleted" if done["jobs"] == 1 else f"{done['jobs'] or 'no'} jobs deleted"
        )
