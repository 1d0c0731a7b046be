"""Schedule checker: no tick has two jobs or two rows, none is without a row, and no two jobs of a
schedule run at once.

The ticks are computed here by counting minutes and intervals; no code of the scheduler is used.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any, Final, NamedTuple

from mythjobs.store.open import Store
from tests.simulation.plan import Plan
from tests.simulation.simulator import Simulator

_MINUTE_MS: Final = 60_000
_DAY_MS: Final = 86_400_000
# A running master evaluates each tick within this time, also after its clock was set.
_BOUND_MS: Final = 5 * _MINUTE_MS
_UNITS_MS: Final = {"s": 1000, "m": _MINUTE_MS}

_READ: Final = """
SELECT s.name, s.created_ms, s.cursor_ms, t.tick_ms, t.last_ms, t.ticks, t.outcome, t.job_id
FROM schedule s LEFT JOIN schedule_tick t ON t.schedule_id = s.schedule_id
ORDER BY s.name, t.tick_ms
"""
_READ_RUNNING: Final = """
SELECT substr(key, 1, instr(substr(key, 10), ':') + 9), count(*) FROM job
WHERE key LIKE 'schedule:%' AND state IN ('leased', 'running') GROUP BY 1 HAVING count(*) > 1
"""


class _Row(NamedTuple):
    tick_ms: int
    last_ms: int
    ticks: int
    outcome: str
    job_id: int | None

    @property
    def is_of_calendar(self) -> bool:
        """False of a job that a user submitted at a time of the user's choice."""
        return self.ticks > 0


class ScheduleChecker:
    """`check` is called after each commit that wrote something."""

    def __init__(self, sim: Simulator, plan: Plan) -> None:
        self._sim = sim
        self._definitions: Mapping[str, Any] = {
            each.arguments["name"]: each.arguments
            for each in plan.work
            if each.action == "schedule"
        }
        self._has_backfills = any(each.action == "backfill" for each in plan.work)
        self._restored_ms = self._first_id = 0
        self.job_ids: set[int] = set()  # jobs of schedules, for users who release them

    def on_restore(self, wall_ms: int, first_id: int) -> None:
        """The store was restored at this time of the master's clock; it has no job from this id
        on yet."""
        self._restored_ms, self._first_id = wall_ms, first_id

    def check(self, store: Store) -> None:
        if not self._definitions:
            return
        for name, (rows, _, _) in self._read(store).items():
            jobs = [each.job_id for each in rows if each.job_id is not None]
            if len(set(jobs)) < len(jobs):
                self._report(f"two ticks of {name} have one job")
            self.job_ids.update(jobs)
            for each in rows:
                is_past = each.is_of_calendar and each.tick_ms <= self._restored_ms
                if is_past and (each.job_id or 0) >= self._first_id and not self._has_backfills:
                    text = f"{name} has a job for {each}, which may have had one before the restore"
                    self._sim.report_violation("RESTORE", text)
            for row, following in pairwise(each for each in rows if each.is_of_calendar):
                if following.tick_ms <= row.last_ms:
                    self._report(f"{name} has two rows for one tick: {row} {following}")
        with store.snapshot() as tx:
            tx.cursor.execute(_READ_RUNNING)
            for prefix, count in tx.cursor.fetchall():
                self._report(f"{count} jobs of {prefix} run at once")

    def check_final_state(self, store: Store, now_ms: int, skipped: set[str]) -> None:
        """Check that each tick has a row. skipped: schedules that an internal error has stopped."""
        for name, (rows, created_ms, cursor_ms) in self._read(store).items():
            for each in rows:
                self._sim.count(f"tick {each.outcome}")
            if name in skipped:
                continue
            past = [each for each in rows if each.is_of_calendar and each.tick_ms <= cursor_ms]
            first_ms = created_ms
            if not self._has_backfills:  # else a user may have asked for ticks before that
                first_ms = min([created_ms, *(each.tick_ms - 1 for each in past)])
            expected = list(self._list_ticks(name, first_ms, now_ms - _BOUND_MS))
            if cursor_ms < (expected[-1] if expected else 0):
                self._report(f"{name} was not evaluated since {cursor_ms}")
            for tick_ms in expected:
                found = [each for each in past if each.tick_ms <= tick_ms <= each.last_ms]
                if len(found) != 1:
                    self._report(f"tick {tick_ms} of {name} has {len(found)} rows")
                    break
            for each in past:
                count = len(list(self._list_ticks(name, each.tick_ms - 1, each.last_ms)))
                if count != each.ticks:
                    self._report(f"{name} has a row of {each.ticks} ticks for {count}: {each}")

    def _read(self, store: Store) -> dict[str, tuple[list[_Row], int, int]]:
        found: dict[str, tuple[list[_Row], int, int]] = {}
        with store.snapshot() as tx:
            tx.cursor.execute(_READ)
            for name, created_ms, cursor_ms, *row in tx.cursor.fetchall():
                rows, _, _ = found.setdefault(name, ([], created_ms, cursor_ms))
                if row[0] is not None:
                    rows.append(_Row(*row))
        return found

    def _list_ticks(self, name: str, after_ms: int, to_ms: int) -> Iterator[int]:
        """Yield the ticks in (after_ms, to_ms]; the zone is UTC."""
        table = self._definitions[name]
        if "every" in table:
            step_ms = int(table["every"][:-1]) * _UNITS_MS[table["every"][-1]]
            # It divides a day, so the midnight from which it counts does not matter.
            assert _DAY_MS % step_ms == 0
        else:
            step_ms = _MINUTE_MS
        at_ms = (after_ms // step_ms + 1) * step_ms
        while at_ms <= to_ms:
            if "every" in table or _matches(table["cron"], at_ms // _MINUTE_MS % 60):
                yield at_ms
            at_ms += step_ms

    def _report(self, text: str) -> None:
        self._sim.report_violation("TICK", text)


def _matches(cron: str | list[str], minute: int) -> bool:
    """Return whether expressions match whose only restricted field is the minute."""
    for each in [cron] if isinstance(cron, str) else cron:
        field = each.split()[0]
        if field == "*" or (field.startswith("*/") and minute % int(field[2:]) == 0):
            return True
        if not field.startswith("*") and minute in map(int, field.split(",")):
            return True
    return False
