"""Agent process: receives events from master, reapers and signals, passes them to the agent core,
and carries out the actions that the core returns."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import pwd
import secrets
import signal
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, TypeVar

from mythjobs.agent import journal
from mythjobs.agent.capabilities import detect_capabilities, find_own_programs
from mythjobs.agent.core import turn
from mythjobs.agent.core.attempt import AgentAttempt, Key
from mythjobs.agent.core.core import AgentCore
from mythjobs.agent.core.start_message import build_base_environment
from mythjobs.agent.dead_reaper import DeadReaper
from mythjobs.agent.file_removal import OutputDeleter, delete_trees, find_unknown
from mythjobs.agent.handshake import AgentIdentity
from mythjobs.agent.input_check import InputChecker
from mythjobs.agent.machine_report import MachineReport
from mythjobs.agent.master_link import MasterLink
from mythjobs.agent.output_scan import OutputScanner, find_later_match
from mythjobs.agent.output_transfer import OutputTransfers
from mythjobs.agent.probing.prober import Prober
from mythjobs.agent.reaper_pool import ReaperPool
from mythjobs.agent.scaler import Scaler, find_leftover_freezes
from mythjobs.agent.scaling.controller import PERIOD_S
from mythjobs.agent.scaling.freezing import FreezeChange
from mythjobs.clock import Now, machine_now
from mythjobs.config import keys, locks, runtime
from mythjobs.config.log_setup import set_up_logging
from mythjobs.config.os_errors import explaining_os_errors
from mythjobs.config.own_policy import check_user, read_own_policy
from mythjobs.config.state import StateDir
from mythjobs.config.time_zone import find_time_zone
from mythjobs.protocol import messages as m
from mythjobs.protocol.compatibility import find_master_capabilities

# When the agent stops its jobs: time, after the last job has ended, for the master to acknowledge
# the ends and collect the output.
_FINAL_REPORT_S: Final = 5.0
# Interval of deadline checks while any attempt has a lease or run windows.
_CHECK_INTERVAL_S: Final = 1.0

T = TypeVar("T")
log = logging.getLogger(__name__)


def run_agent(
    state: StateDir,
    *,
    name: str | None = None,
    jobs: int | None = None,
    stop_jobs: bool = False,
    has_scaling: bool = True,
) -> None:
    """Run the agent until a signal ends it.

    Raises AlreadyRunning, StoreFailed, StateNotWritable, ConfigError.

    `jobs` limits how many jobs run at once, in addition to the master's limit; with `has_scaling`
    the load of the machine decides how many run within these limits. SIGTERM and
    SIGINT end the agent; its jobs keep running and the next agent adopts them. With `stop_jobs`,
    and always on SIGUSR1, the agent stops its jobs first; a second signal then ends the agent
    without waiting for them.
    """
    set_up_logging("agent")
    with explaining_os_errors(state):
        state.agent.root.mkdir(mode=0o700, exist_ok=True)
    with explaining_os_errors(state), locks.acquire(state.agent.lock, "an agent"):
        state.agent.create()
        agent = Agent(state, name or socket.gethostname(), jobs, has_scaling=has_scaling)
        try:
            import uvloop
        except ImportError:
            asyncio.run(agent.run(stop_jobs))
        else:
            uvloop.run(agent.run(stop_jobs))


class Agent:
    def __init__(
        self, state: StateDir, name: str, jobs: int | None, *, has_scaling: bool = False
    ) -> None:
        self._directory = directory = state.agent
        boot_id = read_boot_id()
        user = pwd.getpwuid(os.getuid())
        env = build_base_environment(
            os.environ, user=user.pw_name, home=user.pw_dir, shell=user.pw_shell,
            programs=find_own_programs(),
        )  # fmt: skip
        self._scaler = Scaler(directory.scaling, directory.output) if has_scaling else None
        self._scaling_timer: asyncio.TimerHandle | None = None
        own = read_own_policy(directory.policy).with_ceiling(jobs)
        check_user(own, directory.policy, user.pw_name)
        zone = own.zone or find_time_zone(os.environ)
        self._core = core = AgentCore(env, replace(own, zone=zone), self._scaler)
        core.restore(journal.read_journal(directory.journal, boot_id))
        self._journal = journal.AgentJournal(
            directory.journal,
            boot_id,
            core.take_snapshot,
            self._on_journal_written,
            self._on_journal_durable,
            self.failed,
        )
        incarnation = secrets.token_hex(16)
        can = detect_capabilities()
        key = keys.load_or_create_key(directory.key)
        identity = AgentIdentity(key, name, boot_id, incarnation, zone, can, own, has_scaling)
        self._link = MasterLink(state, identity, self)
        self._reapers = ReaperPool(directory, runtime.ensure_runtime_dir(state), boot_id, self)
        self._transfers = OutputTransfers(
            directory.output, core.find_attempt, self._change_watchers, self._queue_output_end
        )
        self._outputs = OutputDeleter(directory.output)
        self._scanner = OutputScanner(directory.output)
        self._inputs = InputChecker(self._on_inputs_checked, own.roots)
        self._report = report = MachineReport(core, self._scaler, directory.output)
        self._prober = Prober(directory.probes, env["PATH"], report.set_description)
        self._signals: asyncio.Queue[signal.Signals] = asyncio.Queue()
        self._failure: Exception | None = None
        self._is_recovered = False
        # Set after every event that the core has handled, to wake _wait_until().
        self._changed = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None

    async def run(self, stop_jobs: bool) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, *runtime.hangup_signals()):
            loop.add_signal_handler(number, self._signals.put_nowait, number)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR1})  # blocked by LocalAgent
        serving = asyncio.create_task(self._serve())
        try:
            received = await self._first_of(serving, self._signals.get())
            if received is not None and (stop_jobs or received is signal.SIGUSR1):
                await self._first_of(self._stop_jobs(), self._signals.get())
            if received is not None and (count := self._core.running_count):
                pids = ", ".join(self._reapers.pids())
                jobs = "1 job keeps" if count == 1 else f"{count} jobs keep"
                log.info("%s running under the reaper (pid %s)", jobs, pids)
        finally:
            serving.cancel()
            for timer in (self._timer, self._scaling_timer):
                if timer is not None:
                    timer.cancel()
            await asyncio.wait([serving])
            await self._reapers.close()
            self._journal.close()
            self._report.close()
        if not serving.cancelled():
            serving.result()
        if self._failure is not None:
            raise self._failure

    async def _serve(self) -> None:
        await self._reapers.adopt_existing()
        self._execute(self._core.finish_recovery(machine_now()))
        self._is_recovered = True
        known = self._core.list_keys()
        delete_trees(find_unknown(self._directory.output, known))
        # List leftover scratch directories now, before any job can start. They are removed in a
        # thread while jobs run, because that may take long.
        stale = find_unknown(self._directory.scratch, known)
        # Exclude all objects that exist now from garbage collection: they live as long as the
        # process, and traversing them costs time.
        gc.collect()
        gc.freeze()
        removal = asyncio.to_thread(delete_trees, stale)
        await asyncio.gather(
            self._reapers.maintain(), self._link.run(), self._prober.run(), removal
        )

    async def _stop_jobs(self) -> None:
        # Before recovery has finished, reapers may have running jobs that the core does not know.
        await self._wait_until(lambda: self._is_recovered)
        log.info("stopping %d jobs", self._core.running_count)
        self._execute(self._core.stop_all_jobs("shutdown"))
        await self._wait_until(lambda: not self._core.running_count)
        with suppress(TimeoutError):
            async with asyncio.timeout(_FINAL_REPORT_S):
                await self._wait_until(
                    lambda: not (self._core.unacknowledged_count and self._link.is_connected)
                )
        await self._reapers.terminate(_FINAL_REPORT_S)
        log.info("all jobs have ended")

    async def _wait_until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._changed.clear()
            await self._changed.wait()

    async def _first_of(self, work: Awaitable[object], event: Awaitable[T]) -> T | None:
        """Wait until `event` or `work` is done or the agent has failed, whichever is first. Return
        the result of `event` if that was first, else None."""
        working = asyncio.ensure_future(work)
        waiting = asyncio.ensure_future(event)
        failed = asyncio.ensure_future(self._wait_until(lambda: self._failure is not None))
        await asyncio.wait([working, waiting, failed], return_when=asyncio.FIRST_COMPLETED)
        failed.cancel()
        if waiting.done():
            return waiting.result()
        waiting.cancel()
        return None

    def _execute(self, actions: Sequence[turn.Action]) -> None:
        for action in actions:
            match action:
                case turn.SendToReaper():
                    self._reapers.send(action.reaper, action.messages)
                case turn.WriteJournal():
                    self._journal.write(action)
                case turn.ReadNewOutput():
                    self._read_new_output(action.attempt)
                case turn.ForwardTransfer():
                    self._transfers.on_message(action.message)
                case turn.CheckInputs():
                    self._inputs.check(action.key, action.inputs, action.paths)
                case turn.DeleteOutput():
                    self._outputs.delete(action)
                case turn.RemoveReaper():
                    self._reapers.remove(action.reaper)
        self._changed.set()
        self._link.send_pending()
        if self._timer is None and self._core.has_deadlines:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(_CHECK_INTERVAL_S, self._check_deadlines)
        if self._scaler is not None and self._scaling_timer is None and self._core.running_count:
            loop = asyncio.get_running_loop()
            self._scaling_timer = loop.call_later(PERIOD_S, self._measure_load)

    def _measure_load(self) -> None:
        """Measure the machine and its jobs, once a period while jobs run."""
        assert self._scaler is not None
        self._scaling_timer, now = None, machine_now()
        self._scaler.adopt(self._core.table.list_running(), now)
        changes = self._scaler.step([int(each) for each in self._reapers.pids()], now)
        self._change_freezes(changes)

    def _change_freezes(self, changes: Sequence[FreezeChange]) -> None:
        freezes = [(each.key, each.on) for each in changes]
        self._execute(self._core.change_freezes(freezes, machine_now()))

    def _check_deadlines(self) -> None:
        self._timer = None
        self._execute(self._core.check_deadlines(machine_now()))

    def _read_new_output(self, attempt: AgentAttempt) -> None:
        if attempt.progress_source:
            try:
                reading = self._scanner.scan_progress(attempt)
            except OSError as error:
                # Log and continue: the disk may recover, and only the job's progress is missing.
                log.warning("cannot read output of job %d: %s", attempt.key[0], error)
                reading = None
            if reading is not None:
                self._core.record_progress(attempt.key, reading, machine_now())
        self._transfers.on_new_output(attempt)

    # Callbacks that AgentJournal calls.

    def _on_journal_written(self, token: int) -> None:
        self._execute(self._core.on_journal_written(token, machine_now()))

    def _on_journal_durable(self, token: int) -> None:
        self._core.on_journal_synced(token)
        self._link.send_pending()

    def failed(self, error: Exception) -> None:
        self._failure = error
        self._changed.set()

    # Methods of ReaperHandler: events of reapers.

    def on_reaper_hello(self, reaper: str, attempts: Sequence[Any], starting: set[Key]) -> None:
        self._add_later_matches(attempts)
        thawed = self._record_in_scaler(attempts)
        self._execute(self._core.on_reaper_hello(reaper, attempts, starting, machine_now()))
        if thawed:
            self._change_freezes(thawed)

    def on_reaper_messages(self, reaper: str, messages: Sequence[Any]) -> None:
        self._add_later_matches(messages)
        thawed = self._record_in_scaler(messages)
        self._execute(self._core.on_reaper_messages(reaper, messages, machine_now()))
        if thawed:
            self._change_freezes(thawed)

    def _record_in_scaler(self, messages: Sequence[Any]) -> list[FreezeChange]:
        """Pass messages of a reaper to the scaler. Return the freezes to change."""
        if self._scaler is None:
            # An earlier agent with a scaler may have frozen jobs.
            return find_leftover_freezes(messages)
        return self._scaler.record_messages(messages, machine_now())

    def _add_later_matches(self, messages: Sequence[Any]) -> None:
        """Add a field `later` to each `ended` message of a command with the setting `retry.later`:
        the text in the attempt's output that matches this regular expression."""
        for each in messages:
            if "outcome" in each and each["output"]:
                attempt = self._core.find_attempt((each["job"], each["n"]))
                if attempt is not None and (regex := attempt.terms.later_regex):
                    each["later"] = find_later_match(self._directory.output, each, regex)

    def on_reaper_death(self, reaper: str, dead: DeadReaper) -> None:
        self._add_later_matches(dead.ended)
        self._execute(self._core.on_reaper_death(reaper, dead.ended, dead.lost, machine_now()))

    def on_reaper_ready(self, reaper: str) -> None:
        self._execute(self._core.set_start_reaper(reaper, machine_now()))

    # Methods of LinkHandler: events of the connection to the master, and what it sends.

    def on_connected(self, welcome: m.Welcome) -> None:
        self._core.on_connected(welcome.jobs, find_master_capabilities(welcome))
        self._report.reset_connection()
        if self._scaler is not None:
            self._scaler.reset_connection()
            self._scaler.add_footprints(welcome.footprints)
        self._execute(self._core.change_control(welcome.control, machine_now()))

    def on_disconnected(self) -> None:
        self._transfers.close_all()
        self._changed.set()

    def on_frame(self, frame: m.MasterFrame, now: Now) -> None:
        if self._scaler is not None:
            for message in frame.messages:
                if isinstance(message, m.Renew):
                    self._scaler.add_footprints(message.footprints)
                    self._scaler.set_waiting(message.waiting, message.starving)
        self._execute(self._core.on_master_frame(frame, now))

    def on_heartbeat_due(self, now: Now) -> None:
        if self._scaling_timer is None:
            # No job runs, or their number does not depend on the load: keep the load known, at the
            # cost of a few readings.
            self._report.measure_load([int(each) for each in self._reapers.pids()], now)
        self._execute(self._core.on_heartbeat_due(now))

    def next_frame(self, now: Now) -> m.AgentFrame | None:
        self._core.on_journal_synced(self._journal.durable_token)
        return self._report.next_frame(now)

    def next_chunk(self) -> bytes | None:
        return self._transfers.next_chunk()

    def next_frame_ms(self) -> int | None:
        return self._core.next_frame_ms()

    @property
    def unanswered_heartbeats(self) -> int:
        return self._core.unanswered_heartbeats

    # Callbacks of InputChecker and OutputTransfers.

    def _on_inputs_checked(self, key: Key, missing: str, outside: str) -> None:
        self._execute(self._core.on_inputs_checked(key, missing, machine_now(), outside))

    def _change_watchers(self, key: Key, change: int) -> None:
        self._execute(self._core.change_watchers(key, change))

    def _queue_output_end(self, end: m.OutputEnd) -> None:
        self._core.queue_output_end(end)
        self._link.send_pending()


def read_boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
