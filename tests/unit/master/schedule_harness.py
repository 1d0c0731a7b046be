"""Harness of tests about schedules: a master with one machine, and a clock that a test moves."""

from __future__ import annotations

import datetime as dt
from itertools import pairwise
from typing import Any, Final, NamedTuple

from mythjobs.clock import Now
from mythjobs.master.schedules import overview, requests
from mythjobs.scheduler.ticks import iterate_ticks
from mythjobs.store.queries.notifications import list_notifications
from mythjobs.store.writes import ticks
from tests.unit.master.harness import Harness

MINUTE_S: Final = 60.0
HOUR_S: Final = 3600.0
DAY_S: Final = 86_400.0


class Row(NamedTuple):
    """A row of a tick, as a test compares it; times are UTC."""

    at: str
    outcome: str
    ticks: int = 1
    reason: str = ""


class Calendar:
    """Plays a master whose clock the test moves, and one machine."""

    def __init__(self, master: Harness, **schedule: Any) -> None:
        self.master = master
        self.attic = master.join("attic", 4)
        master.define("backup")
        if schedule:
            self.add(**schedule)

    def add(self, name: str = "night", **table: Any) -> None:
        definition = {"name": name, "command": "backup"} | table
        self.master.request(requests.DefineSchedule(definition, "anna"))

    def set_clock(self, when: str) -> None:
        """Set the wall clock (UTC); the other clocks stand still. No turn is run."""
        at = dt.datetime.fromisoformat(when).replace(tzinfo=dt.UTC)
        self.master.now = self.master.now._replace(wall_ms=round(at.timestamp() * 1000))

    def advance_to(self, when: str) -> None:
        """Let time pass until the wall clock (UTC) shows this, with a turn for each timer."""
        at = dt.datetime.fromisoformat(when).replace(tzinfo=dt.UTC)
        self.advance(at.timestamp() - self.master.now.wall_ms / 1000)

    def advance(self, seconds: float) -> None:
        """Let time pass, with a turn at each timer, as the thread of the turns waits for it."""
        end_ms = self.master.now.wall_ms + round(1000 * seconds)
        while True:
            due_ms = self.master.core.state.next_due_ms
            if due_ms is None or due_ms > end_ms:
                break
            self.master.advance(max(0, due_ms - self.master.now.wall_ms) / 1000)
        self.master.advance((end_ms - self.master.now.wall_ms) / 1000)

    def pass_over(self, seconds: float) -> None:
        """Let time pass without a turn: the master is not running, or hangs."""
        ms = round(1000 * seconds)
        self.master.now = Now(*(each + ms for each in self.master.now))

    def suspend(self, seconds: float) -> None:
        """Suspend the master's machine, and run a turn after it wakes up."""
        ms = round(1000 * seconds)
        now = self.master.now
        self.master.now = now._replace(wall_ms=now.wall_ms + ms, boot_ms=now.boot_ms + ms)
        self.settle()

    def settle(self) -> None:
        """Run turns until no timer is due."""
        for _ in range(100_000):
            self.master.turn()
            due_ms = self.master.core.state.next_due_ms
            if due_ms is None or due_ms > self.master.now.wall_ms:
                return
        raise AssertionError("the timers never stop firing")

    def restart(self, down_s: float) -> None:
        """Stop the master, and start it again later; the machine connects again."""
        self.pass_over(down_s)
        self.master.restart()
        self.settle()
        self.attic = self.master.join("attic", 4)

    def run_jobs(self, seconds: float = 10.0, code: int = 0) -> list[int]:
        """Let the granted jobs run and end; return their ids."""
        granted = self.master.take_grants()
        self.pass_over(seconds)
        self.master.finish(self.attic, *granted, seconds=seconds, code=code)
        return granted

    def rows(self, name: str = "night") -> list[Row]:
        """Return the rows of a schedule's ticks, oldest first."""
        state = self.master.core.state.schedules.find(name)
        assert state is not None
        with self.master.store.snapshot() as tx:
            found = ticks.read_between(tx, state.schedule_id, 0, 2**60)
        return [Row(utc(each.tick_ms), each.outcome, each.ticks, each.reason) for each in found]

    def outcomes(self, name: str = "night") -> list[tuple[str, str]]:
        return [(each.at, each.outcome) for each in self.rows(name)]

    @property
    def notices(self) -> list[Any]:
        """Notifications about schedules, the oldest first."""
        with self.master.store.snapshot() as tx:
            found = list_notifications(tx, unread=False, limit=100)["notifications"]
        kinds = ("missed", "late", "drifting")
        return [each for each in reversed(found) if each["kind"] in kinds]

    def show(self, name: str = "night") -> Any:
        with self.master.store.snapshot() as tx:
            return overview.show_schedule(
                tx, self.master.core.state, self.master.now, name, past=100, coming=5
            )


def utc(at_ms: int) -> str:
    return f"{dt.datetime.fromtimestamp(at_ms / 1000, dt.UTC):%Y-%m-%d %H:%M}"


def assert_complete(calendar: Calendar, name: str, *, since: str) -> None:
    """Each tick up to now is in exactly one row, and no job belongs to two ticks."""
    state = calendar.master.core.state.schedules.find(name)
    assert state is not None
    assert state.schedule is not None
    now_ms = calendar.master.now.wall_ms
    since_ms = round(dt.datetime.fromisoformat(since).replace(tzinfo=dt.UTC).timestamp() * 1000)
    with calendar.master.store.snapshot() as tx:
        rows = ticks.read_between(tx, state.schedule_id, 0, 2**60)
    jobs = [each.job_id for each in rows if each.job_id is not None]
    assert len(set(jobs)) == len(jobs)
    rows = [each for each in rows if each.ticks]
    for row, following in pairwise(rows):
        assert row.last_ms < following.tick_ms, (row, following)
    due = set()
    for each in iterate_ticks(state.schedule.when, state.zone, since_ms):
        if each.at_ms > now_ms:
            break
        due.add(each.at_ms)
    covered = 0
    for row in rows:
        inside = {each for each in due if row.tick_ms <= each <= row.last_ms}
        covered += len(inside)
        if row.tick_ms <= now_ms:
            assert len(inside) == row.ticks, (utc(row.tick_ms), row, len(inside))
    assert covered == len(due)
