"""Tick log: collects the rows of a schedule's ticks in a turn; consecutive ticks share a row."""

from __future__ import annotations

from mythjobs.model.tick import TickOutcome
from mythjobs.store.transaction import Transaction
from mythjobs.store.writes import ticks
from mythjobs.store.writes.ticks import TickRow

# A schedule for each machine writes one row for each; a row to extend is among the last ones.
_LOOKED_AT = 64


class TickLog:
    """Rows of one schedule's ticks in (after_ms, to_ms], until write() stores them."""

    def __init__(self, tx: Transaction, schedule_id: int, after_ms: int, to_ms: int) -> None:
        self._tx = tx
        self._schedule_id = schedule_id
        self._after_ms = after_ms
        self._to_ms = to_ms
        self._known: set[tuple[int, int]] | None = None
        self._rows: list[TickRow] = []
        self._stored: dict[int, TickRow] | None = None  # the last stored row, by machine id
        self._extended: dict[int, TickRow] = {}
        # Machine ids whose last tick had a row already: the next row must not span that one.
        self._interrupted: set[int] = set()

    def has(self, tick_ms: int, machine_id: int = 0) -> bool:
        """Return whether a tick has a row already: the clock was set back since."""
        if self._known is None:
            rows = ticks.read_between(self._tx, self._schedule_id, self._after_ms + 1, self._to_ms)
            self._known = {(each.tick_ms, each.machine_id) for each in rows}
        return (tick_ms, machine_id) in self._known

    def add_job(self, tick_ms: int, machine_id: int, job_id: int, reason: str) -> None:
        self._rows.append(
            TickRow(
                self._schedule_id, tick_ms, machine_id, tick_ms, 1, TickOutcome.SUBMITTED, reason,
                job_id, 1,
            )
        )  # fmt: skip

    def add_without_job(
        self,
        tick_ms: int,
        outcome: TickOutcome,
        reason: str,
        *,
        machine_id: int = 0,
        last_ms: int | None = None,
        count: int = 1,
    ) -> bool:
        """Add ticks without a job, to the row of the ticks before them if these are alike.

        Return whether they have a row of their own.
        """
        if self.has(tick_ms, machine_id):
            self._interrupted.add(machine_id)
            return False
        row = TickRow(
            self._schedule_id,
            tick_ms,
            machine_id,
            tick_ms if last_ms is None else last_ms,
            count,
            outcome,
            reason,
        )
        mine = [at for at, each in enumerate(self._rows) if each.machine_id == machine_id]
        before = self._rows[mine[-1]] if mine else self._last_stored(machine_id)
        is_interrupted = machine_id in self._interrupted
        self._interrupted.discard(machine_id)
        if before is None or is_interrupted or not _is_alike(before, row):
            self._rows.append(row)
            return True
        longer = before._replace(last_ms=row.last_ms, ticks=before.ticks + count)
        if mine:
            self._rows[mine[-1]] = longer
        else:
            self._extended[machine_id] = longer
        return False

    def write(self) -> None:
        for each in self._extended.values():
            ticks.extend(self._tx, each)
        if self._rows:
            ticks.add(self._tx, self._rows)
            ticks.remove_old(self._tx, self._schedule_id)

    def _last_stored(self, machine_id: int) -> TickRow | None:
        if machine_id in self._extended:
            return self._extended[machine_id]
        if self._stored is None:
            self._stored = {}
            for each in ticks.read_last(self._tx, self._schedule_id, self._to_ms, _LOOKED_AT):
                self._stored.setdefault(each.machine_id, each)
        return self._stored.get(machine_id)


def _is_alike(before: TickRow, row: TickRow) -> bool:
    return before.job_id is None and (before.outcome, before.reason) == (row.outcome, row.reason)
