"""A master whose machines fall silent, restart and come back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mythjobs.master import requests
from mythjobs.model import outcome as o
from mythjobs.protocol import messages as m
from mythjobs.store.invariants.run import check
from tests.unit.master.harness import Harness


class LeaseHarness(Harness):
    """Keeps every grant that was heard, too."""

    def __init__(self, path: Path) -> None:
        self.grants: list[m.Grant] = []
        super().__init__(path)

    def take_grants(self, name: str = "attic") -> list[int]:
        self.grants += [each for each in self.sent.get(name, ()) if isinstance(each, m.Grant)]
        return super().take_grants(name)

    def send_frame(
        self, connection: int, *messages: m.AgentMessage, seen: int | None = None
    ) -> None:
        """`seen`: the last grant that the machine has journalled, if not the last one."""
        if seen is None:
            super().send_frame(connection, *messages)
            return
        self._frames[connection] += 1
        frame = m.AgentFrame(self._frames[connection], seen, 0, list(messages))
        self.turn(requests.FrameReceived(connection, frame))

    def close(self) -> None:
        """Whatever happened in it, the store keeps its promises."""
        with self.store.snapshot() as tx:
            violations = check(tx)
        super().close()
        assert violations == []

    def come(
        self, name: str = "attic", boot: str = "boot", held: dict[Any, str] | None = None
    ) -> int:
        """A machine is back on a new connection, with what it says it holds."""
        connection = len(self._frames) + 1
        self._frames[connection] = 0
        self._names[connection] = name
        if held is not None:
            self.attempts[name] = held
        hello = m.Hello(
            1,
            f"key of {name}",
            "",
            "",
            name,
            boot,
            f"incarnation {connection}",
            2,
            can=sorted(m.CAPABILITIES),
        )
        self.request(requests.Attach(hello, True, connection))
        self.heartbeat(connection)
        return connection

    def cellar(self) -> None:
        """A second machine that may run everything, and has no room for anything."""
        self.join("cellar")
        self.request(requests.SetMachine("cellar", jobs=0))

    def pass_time(self, seconds: float) -> None:
        """Time passes without a word, and the master has read all that there was."""
        self.advance(seconds)
        self.turn(requests.LeaseTick(self.now.steady_ms))

    def end(self, connection: int, job: int, n: int, outcome: o.Outcome, **more: Any) -> None:
        """One attempt ends, whether the master still knows it or not."""
        self.attempts[self._names[connection]].pop((job, n), None)
        self.send_frame(connection, self.ended(job, n, outcome, **more))

    def ended(self, job: int, n: int, outcome: o.Outcome, **more: Any) -> m.Ended:
        as_json: Any = dict(o.to_json(outcome))
        now_ms = self.now.wall_ms
        return m.Ended(job, n, as_json, now_ms - 1000, now_ms, {"wall_s": 1.0}, **more)

    def row(self, job_id: int) -> dict[str, Any]:
        return self._one(f"SELECT * FROM job WHERE job_id = {job_id:d}")

    def attempt(self, job_id: int, n: int) -> dict[str, Any]:
        return self._one(f"SELECT * FROM attempt WHERE job_id = {job_id:d} AND n = {n:d}")

    def events(self, job_id: int) -> list[str]:
        with self.store.snapshot() as tx:
            tx.cursor.execute(f"SELECT kind FROM event WHERE job_id = {job_id:d} ORDER BY event_id")
            return [row[0] for row in tx.cursor.fetchall()]

    def _one(self, question: str) -> dict[str, Any]:
        with self.store.snapshot() as tx:
            tx.cursor.execute(question)
            names = [each[0] for each in tx.cursor.description]
            return dict(zip(names, tx.cursor.fetchone(), strict=True))
