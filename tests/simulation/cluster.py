"""Simulated cluster in one process: real cores and a real store in a simulated environment."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from typing import Final, NamedTuple

from mythjobs.errors import MythJobsError
from mythjobs.master.inbox import Arrival
from mythjobs.master.requests import ControlMachine, ReleaseJobs
from mythjobs.master.turn_runner import CommittedTurn
from mythjobs.model.life import FINAL
from tests.simulation import faults
from tests.simulation.configuration import Configuration
from tests.simulation.machine import SimMachine
from tests.simulation.master import SimMaster
from tests.simulation.placement_checker import PlacementChecker
from tests.simulation.plan import Plan
from tests.simulation.queue_view import QueueView
from tests.simulation.restoration import Restoration
from tests.simulation.retention_checker import RetentionChecker
from tests.simulation.revocation_checker import RevocationChecker
from tests.simulation.safety_checker import SafetyChecker
from tests.simulation.schedule_checker import ScheduleChecker
from tests.simulation.sent_requests import Transmission
from tests.simulation.simulator import Simulator
from tests.simulation.store import EndlessTurn
from tests.simulation.store_factory import StoreFactory
from tests.simulation.terms_checker import TERM_CHANGES, TermsChecker
from tests.simulation.turn_runner import TurnCrashed
from tests.simulation.users import SimUsers

# After the last fault all jobs must end within this time: two of the longest leases with their
# margins, the longest program three times, and windows that open at least every 20 minutes.
LIVENESS_BOUND_MS: Final = 4 * 3_600_000


class RunReport(NamedTuple):
    """Result of a run. `counts` shows what it covered."""

    seed: int
    violations: list[str]
    counts: dict[str, int]
    ended_ms: int


class Cluster:
    def __init__(self, plan: Plan, stores: StoreFactory, *, trace: bool = False) -> None:
        self.plan = plan
        self.sim = Simulator(plan.seed, trace=trace, start_ms=plan.start_ms)
        self.checker = SafetyChecker(self.sim)
        self.configuration = Configuration()
        self._placement = PlacementChecker(self.sim, plan, self.configuration)
        self._retention = RetentionChecker(self.sim, plan, self.configuration)
        self._schedules = ScheduleChecker(self.sim, plan)
        self._revoked = RevocationChecker(self.sim)
        self.view = QueueView(plan)
        self.checker.terms = self._terms = TermsChecker(
            self.sim, plan, self.configuration, self.view, self.checker
        )
        self._stores = stores
        self.live: set[tuple[int, int]] = set()
        self.restoration = Restoration(self)
        self._turns_at_state_check: int | None = None
        # Machines that were drained, paused or resumed in a turn whose commit failed.
        self._uncertain_controls: set[str] = set()

    def run(self) -> RunReport:
        with self._stores.open_store(self.plan) as self.store:
            try:
                self._run()
            except EndlessTurn as error:
                self.sim.report_violation("SPIN", str(error))
            except (Exception, TurnCrashed) as error:
                where = traceback.extract_tb(error.__traceback__)[-1]
                text = f"{type(error).__name__} {error} in {where.filename}:{where.lineno}"
                self.sim.report_violation("CRASH", text)
        sim = self.sim
        return RunReport(self.plan.seed, sim.violations, sim.counts, sim.now_ms)

    def machine(self, number: int) -> SimMachine:
        return self._machines[number - 1]

    def _run(self) -> None:
        plan, sim = self.plan, self.sim
        self.master = SimMaster(sim, self.store, plan)
        self.master.on_commit = self._check_turn
        self.master.on_start = self._on_master_start
        self.master.on_store_failure = self._on_store_failure
        self._machines = [
            SimMachine(sim, self.master, self.checker, number, plan.rates[number])
            for number in range(1, plan.machines + 1)
        ]
        for machine in self._machines:
            machine.path.backoff_ms = plan.backoff_ms
        by_name = {each.name: each for each in self._machines}
        self.users = SimUsers(sim, self.master, plan, self.configuration, by_name)
        self.users.scheduled_ids = self._schedules.job_ids
        for fault in plan.faults:
            sim.call_at(fault.at_ms, faults.inject, self, fault)
        # Faults after the end of all jobs are not simulated.
        last_step_ms = max((each.at_ms for each in plan.work), default=0)
        sim.run(plan.calm_ms, lambda: sim.now_ms > last_step_ms and self._is_done())
        self.users.release_all()
        sim.trace("calm", "no more faults")
        sim.run(plan.calm_ms + LIVENESS_BOUND_MS, self._is_done)
        if not sim.violations:
            self._check_final_state()

    def _on_master_start(self) -> None:
        self._placement.on_master_start()
        before = self.view.jobs, self.view.leased_ms
        self.view.read(self.store)
        if self.store.was_cut:
            self.sim.count("stores that lost power")
            if before != (self.view.jobs, self.view.leased_ms):
                self.sim.report_violation("DURABLE", "the store is not as it was committed last")

    def _on_store_failure(self, arrivals: Sequence[Arrival]) -> None:
        controls = [each.item for each in arrivals if isinstance(each.item, ControlMachine)]
        self._uncertain_controls.update(each.name for each in controls)

    def on_restore(self, next_id: int) -> None:
        """The store was restored. next_id: of the next job."""
        self._schedules.on_restore(self.master.clock.wall_ms(), next_id)
        self.view.reset()
        self._retention.on_restore()
        self._terms.on_change()

    def _check_turn(self, committed: CommittedTurn) -> None:
        """After each commit, compare the master's state and the store with the processes."""
        result = committed.result
        if result is None:
            return
        self.sim.count("turns")
        machines = {
            (job_id, each.n): machine.name
            for machine in result.state.machines.values()
            for job_id, each in machine.live_attempts.items()
        }
        self._revoked.check(result.state)
        live = set(machines)
        leased = [(machines[key], key) for key in live - self.live]
        if live != self.live:
            for key in self.live - live:
                self.checker.on_ended(key)
                self._placement.on_ended(key)
            for job_id, n in live - self.live:
                if job_id in self.users.cancelled:
                    text = f"{job_id, n} is leased after its cancel was acknowledged"
                    self.sim.report_violation("I13", text)
            self.live = live
        for each in result.state.machines.values():
            if each.name in self._uncertain_controls:
                self.configuration.read_control(each)
        self._uncertain_controls.clear()
        for on_response, response in committed.responses:
            if isinstance(response, BaseException) and not isinstance(response, MythJobsError):
                self.sim.report_violation("CRASH", f"{on_response} got {response!r}")
            if isinstance(on_response, Transmission):
                self.configuration.apply(on_response.request, response)
                if isinstance(on_response.request, ReleaseJobs):
                    self.restoration.on_released(on_response.request.ids)
                if isinstance(on_response.request, TERM_CHANGES):
                    self._terms.on_change()
        if self.store.has_changed():
            self.view.read(self.store)
            wall_ms = self.master.clock.wall_ms()
            self._retention.check(self.store, self.view.jobs, self.users.pruned, wall_ms)
            self._placement.check(self.view, result.state, leased, wall_ms)
            self._schedules.check(self.store)
            self.restoration.check((key for _, key in leased), self.view.jobs)
        is_short = not self.restoration.restored  # else a million ids may be skipped
        self._check_store(self.users.all_job_ids(result) if is_short else [*self.view.jobs])

    def _check_store(self, job_ids: Sequence[int] | None) -> None:
        for each in self.store.find_violations(job_ids):
            self.sim.report_violation(each.invariant, each.sentence)

    def _is_done(self) -> bool:
        return self.users.are_done and not self.live and self._are_jobs_final()

    def _are_jobs_final(self) -> bool:
        """Query the store, but only after further turns since the last query."""
        turns = self.sim.counts.get("turns")
        if self._turns_at_state_check == turns or not self.store.is_open:
            return False
        self._turns_at_state_check = turns
        return not self._find_unfinished()

    def _find_unfinished(self) -> list[tuple[int, str, str]]:
        with self.store.snapshot() as tx:
            tx.cursor.execute("SELECT job_id, state, reason_code FROM job")
            rows = tx.cursor.fetchall()
        return [(job_id, state, code) for job_id, state, code in rows if state not in FINAL]

    def _check_final_state(self) -> None:
        for job_id, state, code in self._find_unfinished():
            self.sim.report_violation("BOUND", f"job {job_id} is still {state} ({code})")
        self._check_store(None)
        self.view.read(self.store)
        self._placement.check_final_state(self.view)
        if self.master.process is not None:
            known = self.master.process.core.state.schedules.by_id.values()
            skipped = {each.name for each in known if each.schedule is None}
            now_ms = self.master.clock.wall_ms()
            self._schedules.check_final_state(self.store, now_ms, skipped)
        with self.store.snapshot() as tx:
            tx.cursor.execute(
                "SELECT job_id, n, outcome FROM attempt WHERE outcome LIKE '%exited%'"
            )
            for job_id, n, outcome in tx.cursor.fetchall():
                exit_code = int(outcome.split('"code": ')[1].rstrip("}"))
                self.checker.check_exit_code((job_id, n), exit_code)
            tx.cursor.execute("SELECT job_id, n FROM attempt WHERE outcome LIKE '%not_started%'")
            for job_id, n in tx.cursor.fetchall():
                self.checker.check_not_started((job_id, n))
            tx.cursor.execute("SELECT job_id, state FROM job")
            states = dict(tx.cursor.fetchall())
            self.users.check_final_states(states, self._retention.removed)
            for column, table in (("kind", "event"), ("evidence", "attempt")):
                tx.cursor.execute(f"SELECT {column} FROM {table}")
                for (value,) in tx.cursor.fetchall():
                    self.sim.count(f"{table} {value}")
