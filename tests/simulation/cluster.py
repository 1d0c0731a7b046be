"""A whole cluster in one process: real cores, real store, and everything around them simulated."""

from __future__ import annotations

import traceback
from typing import Final, NamedTuple

from mythjobs.errors import MythJobsError
from mythjobs.master.turn_runner import CommittedTurn
from mythjobs.model.life import FINAL
from tests.simulation import faults
from tests.simulation.machine import Machine
from tests.simulation.master import Master, Process
from tests.simulation.people import People
from tests.simulation.plan import Plan
from tests.simulation.storeroom import Storeroom
from tests.simulation.turns import Unexpected
from tests.simulation.witness import Witness
from tests.simulation.world import World

# After the last fault everything must be over within this: two of the longest leases with their
# margins, the longest work three times over, and the hours that open at least every 20 minutes.
BOUND_MS: Final = 4 * 3_600_000


class Report(NamedTuple):
    """How a run went. `counts` says what it covered."""

    seed: int
    violations: list[str]
    counts: dict[str, int]
    ended_ms: int


class Cluster:
    def __init__(self, plan: Plan, storeroom: Storeroom, *, trace: bool = False) -> None:
        self.plan = plan
        self.world = World(plan.seed, trace=trace)
        self.witness = Witness(self.world)
        self._storeroom = storeroom
        self._live: set[tuple[int, int]] = set()

    def run(self) -> Report:
        with self._storeroom.store() as self.store:
            try:
                self._run()
            except (Exception, Unexpected) as error:
                where = traceback.extract_tb(error.__traceback__)[-1]
                said = f"{type(error).__name__} {error} in {where.filename}:{where.lineno}"
                self.world.broken("CRASH", said)
        world = self.world
        return Report(self.plan.seed, world.violations, world.counts, world.now)

    def machine(self, number: int) -> Machine:
        return self._machines[number - 1]

    def _run(self) -> None:
        plan, world = self.plan, self.world
        self.master = Master(world, self.store, plan.rates[0], plan.beat_s)
        self.master.committed = self._committed
        self._machines = [
            Machine(world, self.master, self.witness, number, plan.rates[number])
            for number in range(1, plan.machines + 1)
        ]
        for machine in self._machines:
            machine.path.backoff_ms = plan.backoff_ms
        self.people = People(world, self.master, plan)
        for fault in plan.faults:
            world.at(fault.at_ms, faults.happen, self, fault)
        # What faults do where nothing is left to do is not worth the time.
        last_ms = max((each.at_ms for each in plan.work), default=0)
        world.run(plan.calm_ms, lambda: world.now > last_ms and self._is_over())
        self.people.calm()
        world.say("calm", "no more faults")
        world.run(plan.calm_ms + BOUND_MS, self._is_over)
        if not world.violations:
            self._judge()

    def _committed(self, process: Process, committed: CommittedTurn) -> None:
        """After every commit: is what it says true of the processes that there are?"""
        result = committed.result
        if result is None:
            return
        self.world.count("turns")
        live = {
            (job_id, each.n)
            for machine in result.state.machines.values()
            for job_id, each in machine.live_attempts.items()
        }
        if live != self._live:
            for key in self._live - live:
                self.witness.is_over(key)
            for job_id, n in live - self._live:
                if job_id in self.people.cancelled:
                    said = f"{job_id, n} is leased after its cancel was answered"
                    self.world.broken("I13", said)
            self._live = live
        for asked, answer in committed.responses:
            if isinstance(answer, BaseException) and not isinstance(answer, MythJobsError):
                self.world.broken("CRASH", f"{asked} was answered {answer!r}")
        for each in self.store.broken(self.people.every_job(result)):
            self.world.broken(each.invariant, each.sentence)

    def _is_over(self) -> bool:
        return self.people.done and not self._live and self._all_final()

    def _all_final(self) -> bool:
        if self._final_at == self.world.counts.get("turns"):
            return False
        self._final_at = self.world.counts.get("turns")
        return not self._unfinished()

    _final_at: int | None = None

    def _unfinished(self) -> list[tuple[int, str, str]]:
        with self.store.snapshot() as tx:
            tx.cursor.execute("SELECT job_id, state, reason_code FROM job")
            rows = tx.cursor.fetchall()
        return [(job_id, state, code) for job_id, state, code in rows if state not in FINAL]

    def _judge(self) -> None:
        """When all is said and done."""
        for job_id, state, code in self._unfinished():
            self.world.broken("BOUND", f"job {job_id} is still {state} ({code})")
        for each in self.store.broken(None):
            self.world.broken(each.invariant, each.sentence)
        with self.store.snapshot() as tx:
            tx.cursor.execute(
                "SELECT job_id, n, outcome FROM attempt WHERE outcome LIKE '%exited%'"
            )
            for job_id, n, outcome in tx.cursor.fetchall():
                self.witness.told_end((job_id, n), int(outcome.split('"code": ')[1].rstrip("}")))
            tx.cursor.execute("SELECT job_id, n FROM attempt WHERE outcome LIKE '%not_started%'")
            for job_id, n in tx.cursor.fetchall():
                self.witness.told_unstarted((job_id, n))
            tx.cursor.execute("SELECT job_id, state FROM job")
            self.people.judge(dict(tx.cursor.fetchall()))
            for what in ("kind FROM event", "evidence FROM attempt"):
                tx.cursor.execute(f"SELECT {what}")
                for (word,) in tx.cursor.fetchall():
                    self.world.count(f"{what.split()[2]} {word}")
