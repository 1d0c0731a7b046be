"""Test harness for leases: machines that fall silent, restart and reconnect."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mythjobs.master import requests
from mythjobs.model import outcome as o
from mythjobs.protocol import messages as m
from mythjobs.store.invariants.run import check
from tests.unit.master.harness import Harness


class LeaseHarness(Harness):
    """Also keeps all received grants, and checks the store's invariants at the end."""

    def __init__(self, path: Path) -> None:
        self.grants: list[m.Grant] = []
        super().__init__(path)

    def take_grants(self, name: str = "attic") -> list[int]:
        self.grants += [each for each in self.sent.get(name, ()) if isinstance(each, m.Grant)]
        return super().take_grants(name)

    def close(self) -> None:
        with self.store.snapshot() as tx:
            violations = check(tx)
        super().close()
        assert violations == []

    def start_job(self, **table: Any) -> int:
        """Define a command, and submit a job of it, which a machine gets. Return the job's id."""
        self.define(**table)
        job = self.submit().id
        assert self.take_grants() == [job]
        return job

    def reconnect(
        self, name: str = "attic", boot: str = "boot", held: dict[Any, str] | None = None
    ) -> int:
        """Attach a machine on a new connection; `held` replaces what its heartbeat lists."""
        if held is not None:
            self.attempts[name] = held
        return self.join(name, boot=boot)

    def join_full_cellar(self) -> None:
        """Add a second machine that may run every command, but no job at a time."""
        self.join("cellar")
        self.request(requests.SetMachine("cellar", jobs=0))

    def advance_and_expire(self, seconds: float) -> None:
        """Move `now` forward without frames, then check for expired leases."""
        self.advance(seconds)
        self.turn(requests.LeaseTick(self.now.steady_ms))

    def end(self, connection: int, job: int, n: int, outcome: o.Outcome, **more: Any) -> None:
        """Report an end, whether the attempt is live at the master or not."""
        self.attempts[self._names[connection]].pop((job, n), None)
        self.send_frame(connection, self.ended(job, n, outcome, **more))

    def ended(self, job: int, n: int, outcome: o.Outcome, **more: Any) -> m.Ended:
        as_json: Any = dict(o.to_json(outcome))
        now_ms = self.now.wall_ms
        return m.Ended(job, n, as_json, now_ms - 1000, now_ms, {"wall_s": 1.0}, **more)

    def row(self, job_id: int) -> dict[str, Any]:
        return self._fetch_one(f"SELECT * FROM job WHERE job_id = {job_id:d}")

    def attempt(self, job_id: int, n: int) -> dict[str, Any]:
        return self._fetch_one(f"SELECT * FROM attempt WHERE job_id = {job_id:d} AND n = {n:d}")

    def events(self, job_id: int) -> list[str]:
        with self.store.snapshot() as tx:
            tx.cursor.execute(f"SELECT kind FROM event WHERE job_id = {job_id:d} ORDER BY event_id")
            return [row[0] for row in tx.cursor.fetchall()]

    def _fetch_one(self, question: str) -> dict[str, Any]:
        with self.store.snapshot() as tx:
            tx.cursor.execute(question)
            names = [each[0] for each in tx.cursor.description]
            return dict(zip(names, tx.cursor.fetchone(), strict=True))
