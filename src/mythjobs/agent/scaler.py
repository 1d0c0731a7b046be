"""Automatic scaling of this machine: measures its load and its jobs for the scaling controller, and
keeps what the controller has learned in a file."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from mythjobs.agent.background_jobs import BackgroundJobs
from mythjobs.agent.core.attempt import AD_HOC
from mythjobs.agent.core.leases import PRESSURE
from mythjobs.agent.measurement.disks import DiskMap
from mythjobs.agent.measurement.foreign_pressure import ForeignPressure
from mythjobs.agent.measurement.job_usage import JobUsageReader
from mythjobs.agent.measurement.machine_load import MachineLoadReader
from mythjobs.agent.scaling.controller import ScalingController
from mythjobs.agent.scaling.counters import JobCounters, JobKey, MachineCounters
from mythjobs.agent.scaling.footprint import Footprint
from mythjobs.agent.scaling.freezing import FreezeChange
from mythjobs.clock import Now
from mythjobs.config import files
from mythjobs.model.command import RUN
from mythjobs.protocol.scaling import DiskLoad, FootprintRow, Headroom, LoadReport

_SAVE_INTERVAL_MS: Final = 60_000
# A command that failed this long after its start has shown what it uses.
_MIN_FAILED_S: Final = 5.0
_MAX_COMMANDS: Final = 100
_RESERVE_AFTER_MS: Final = 60_000
# Name that no command has, to find out what a new command may do.
_UNKNOWN: Final = ""

log = logging.getLogger(__name__)


class Scaler:
    """Decides for the agent core which attempts may start, by a scaling controller."""

    def __init__(self, path: Path, output_directory: Path) -> None:
        """path: file in which learned footprints are kept. output_directory: a job that has no file
        open counts as using the disk of this directory."""
        self._path = path
        disks = DiskMap()
        self._load = MachineLoadReader(disks)
        self._usage = JobUsageReader(disks, str(output_directory))
        self._foreign = ForeignPressure()
        self.controller = ScalingController(self._load.cores, self._load.memory_bytes)
        self._pids: dict[JobKey, int] = {}
        self._background = BackgroundJobs()
        self._commands: dict[JobKey, str] = {}
        # By frozen job: who keeps it frozen. A reaper tells it before the job is adopted.
        self._holders: dict[JobKey, frozenset[str]] = {}
        # Commands that wait for room on this machine, as the master said last.
        self._waiting: set[str] = set()
        # Those of them that have waited long because they have no room here.
        self._starving: frozenset[str] = frozenset()
        self._machine_load: LoadReport | None = None
        self._sent: Headroom | None = None
        # By refused attempt: instant (CLOCK_BOOTTIME ms) since which it has waited.
        self._blocked: dict[JobKey, int] = {}
        self._is_changed = True
        self._unsent_footprints: set[str] = set()
        # Commands of which only the footprint on another machine is known.
        self._guesses: set[str] = set()
        self._saved_ms: int | None = None
        self._is_unsaved = False
        self._read_file()

    def close(self) -> None:
        self._save()
        self._load.close()

    # Called by the agent core.

    def admit(self, key: JobKey, command: str, now: Now) -> bool:
        """Return whether an attempt may start now; if so, it counts as running."""
        if self.controller.find_refusal(command) is not None:
            return False
        self.count_running(key, command, now)
        return True

    def count_running(self, key: JobKey, command: str, now: Now) -> None:
        """Count an attempt as running, whether it fits or not."""
        self.controller.add_job(key, command, now.steady_ms / 1000)
        self._commands[key] = command
        self._is_changed = self._is_changed or not self.is_short(command)

    def is_short(self, command: str) -> bool:
        """Return whether the command's jobs are too short for measures such as a low priority."""
        known = self.controller.footprints.get(command)
        return known is not None and known.is_short

    def can_follow(self, command: str) -> bool:
        """Return whether the reaper may start jobs of a command whenever others end."""
        return self.controller.can_follow(command)

    def count_followed(self) -> int:
        return self.controller.count_followed()

    def set_background(self, key: JobKey, nice: int) -> None:
        """Note that an attempt is being started at a low priority."""
        self._background.add(key, nice)

    def find_headroom(self, refused: Mapping[JobKey, str], now: Now) -> Headroom | None:
        """Return the headroom to send to the master; None if it is as last sent.

        refused: commands of granted attempts that admit() keeps waiting.
        """
        if not (self._is_changed or refused or self._blocked):
            return None
        blocked = {key: self._blocked.get(key, now.steady_ms) for key in refused}
        if not self._is_changed and blocked.keys() == self._blocked.keys():
            return None
        self._blocked = blocked
        # An attempt that has waited long gets what becomes free.
        starving = {
            refused[key]
            for key, since_ms in blocked.items()
            if now.steady_ms - since_ms > _RESERVE_AFTER_MS
        }
        self.controller.reserved = frozenset(starving) | self._starving
        found = self._compute_headroom(set(refused.values()))
        self._is_changed = found != self._sent
        return found if self._is_changed else None

    def mark_sent(self, headroom: Headroom | None) -> None:
        if headroom is not None:
            self._sent, self._is_changed = headroom, False

    @property
    def room(self) -> int:
        """How many further jobs of one command fit at most, as last sent."""
        return max([*self._sent.fits.values(), self._sent.other]) if self._sent else 0

    @property
    def sent_headroom(self) -> Headroom | None:
        return self._sent

    def _compute_headroom(self, refused: set[str]) -> Headroom:
        controller = self.controller
        running = set(self._commands.values())
        fits, reasons = {}, {}
        for name in sorted(self._waiting | running | refused)[:_MAX_COMMANDS]:
            if name in refused:
                room = 0
            elif self.is_short(name):
                # How many run now changes all the time, and the master does not need it.
                room = controller.short.limit
            else:
                room = controller.count_room(name)
            refusal = None if room else controller.find_refusal(name)
            reason = "" if refusal is None else refusal.sentence
            if not room:
                reasons[name] = reason or "a job that has waited longer starts first"
            fits[name] = room
        programs = [each for each in fits if each.startswith(AD_HOC)]
        if programs:
            # The master knows no program of ad-hoc jobs: the next may be any of them.
            tightest = min(programs, key=lambda each: fits[each])
            fits[RUN] = fits[tightest]
            if tightest in reasons:
                reasons[RUN] = reasons[tightest]
            for each in programs:
                del fits[each]
                reasons.pop(each, None)
        other = controller.count_room(_UNKNOWN)
        return Headroom(fits, other, reasons)

    # Called by the service.

    def reset_connection(self) -> None:
        """Prepare for a new connection: the master knows nothing yet."""
        self._sent, self._is_changed = None, True
        self._waiting, self._starving = set(), frozenset()
        self._unsent_footprints = self.controller.footprints.keys() - self._guesses

    def set_waiting(self, commands: Collection[str], starving: Collection[str] = ()) -> None:
        """Set which commands wait for room on this machine. starving: those that have waited long,
        so that room must be kept for them."""
        # Of ad-hoc jobs the master does not know the program, and so not what they need.
        known = frozenset(starving) - {RUN}
        if (self._waiting, self._starving) != (set(commands), known):
            self._waiting, self._starving, self._is_changed = set(commands), known, True

    def add_footprints(self, rows: Mapping[str, FootprintRow]) -> None:
        """Learn from the master what commands use that have not run on this machine."""
        for command, row in rows.items():
            if command not in self.controller.footprints:
                try:
                    self.controller.footprints[command] = Footprint.from_json(row)
                    self._guesses.add(command)
                    self._is_changed = True
                except ValueError as error:
                    log.warning("ignored the master's footprint of %s: %s", command, error)

    def take_footprints(self) -> dict[str, FootprintRow]:
        """Return the footprints to send to the master, which does not have them yet."""
        names, self._unsent_footprints = sorted(self._unsent_footprints), set()
        known = self.controller.footprints
        return {
            name: known[name].to_json()
            for name in names
            if name in known and not name.startswith(AD_HOC)
        }

    def record_messages(self, messages: Sequence[Any], now: Now) -> list[FreezeChange]:
        """Record starts, ends and freezes that a reaper reports. Return the freezes to change."""
        has_ended = False
        for each in messages:
            kind = each.get("type")
            if kind == "ended":
                has_ended = True
                self._record_end((each["job"], each["n"]), each)
            elif kind == "started":
                key = each["job"], each["n"]
                self._pids[key] = each["pid"]
                self._background.on_started(key, each["pid"])
            elif kind == "frozen":
                key = each["job"], each["n"]
                self._holders[key] = frozenset(each["holders"])
                self._set_frozen(key)
        return self.controller.thaw_if_idle(now.steady_ms / 1000) if has_ended else []

    def _set_frozen(self, key: JobKey) -> None:
        holders = self._holders.get(key, frozenset())
        self.controller.set_frozen(
            key, by_controller=PRESSURE in holders, by_others=bool(holders - {PRESSURE})
        )
        if not holders:
            self._holders.pop(key, None)

    def _record_end(self, key: JobKey, ended: Any) -> None:
        self._pids.pop(key, None)
        self._holders.pop(key, None)
        self._background.on_ended(key)
        command = self._commands.pop(key, None)
        if command is None:
            return
        usage, outcome = ended["usage"], ended["outcome"]
        wall_s = usage["wall_s"] - usage.get("frozen_s", 0.0)
        has_exited = outcome.get("kind") == "exited"
        moved = usage["read_bytes"] + usage["written_bytes"]
        final = JobCounters(
            usage["user_s"] + usage["system_s"],
            0.0,
            usage["peak_bytes"],
            self._usage.split_bytes(key, moved) if moved else {},
        )
        self._usage.forget(key)
        is_changed = self.controller.remove_job(
            key,
            final,
            max(wall_s, 0.0),
            has_succeeded=has_exited and (outcome.get("code") == 0 or wall_s >= _MIN_FAILED_S),
        )
        if is_changed:
            self._unsent_footprints.add(command)
            self._guesses.discard(command)
            self._is_unsaved = True
        if is_changed or not self.is_short(command):
            self._is_changed = True

    def adopt(self, running: Mapping[JobKey, str], now: Now) -> None:
        """Bring the controller in line with the running attempts, by command: adopt those of an
        earlier agent, and drop those that ended without a message of a reaper."""
        for key in self._holders.keys() - running.keys():
            del self._holders[key]
        for key in self._commands.keys() - running.keys():
            self._pids.pop(key, None)
            self._usage.forget(key)
            del self._commands[key]
            self.controller.remove_job(key, JobCounters(), 0.0, has_succeeded=False)
            self._is_changed = True
        for key in running.keys() - self._commands.keys():
            command, pid = running[key], self._pids.get(key)
            used = JobCounters() if pid is None else self._usage.read({key: pid})[key]
            self.controller.adopt_job(key, command, used, now.steady_ms / 1000)
            self._commands[key] = command
            self._set_frozen(key)
            self._is_changed = True

    def step(self, reaper_pids: Sequence[int], now: Now) -> list[FreezeChange]:
        """Measure the machine and its jobs. Return the jobs to freeze and to thaw."""
        self._background.retry()
        measured = self.controller.list_measured(now.steady_ms / 1000)
        leaders = {key: self._pids[key] for key in measured if key in self._pids}
        try:
            counters = self._load.read(self._usage.read(leaders), reaper_pids)
            if self.controller.needs_foreign_stall:
                stall_s = self._foreign.read_stall_s(reaper_pids)
                counters = counters._replace(foreign_stall_s=stall_s)
        except OSError as error:
            # The agent lacks descriptors or memory now. The next reading covers this period, too.
            log.warning("cannot measure the load of this machine: %s", error)
            return []
        changes = self.controller.step(counters, self._waiting, now.steady_ms / 1000)
        self._describe_load(counters)
        self._is_changed = True
        if self._saved_ms is None:
            self._saved_ms = now.steady_ms
        if self._is_unsaved and now.steady_ms - self._saved_ms >= _SAVE_INTERVAL_MS:
            self._saved_ms = now.steady_ms
            self._save()
        for each in changes:
            if each.reason:
                verb = "freezing" if each.on else "thawing"
                log.info("%s job %d: %s", verb, each.key[0], each.reason)
        return changes

    @property
    def has_unsent(self) -> bool:
        return bool(self._unsent_footprints)

    @property
    def has_jobs(self) -> bool:
        return bool(self._commands)

    @property
    def load(self) -> LoadReport | None:
        """The machine's load in the last period, for people."""
        found = self._machine_load
        if found is None:
            return None
        return msgspec.structs.replace(found, pressure=self._load.read_pressure())

    def _describe_load(self, counters: MachineCounters) -> None:
        processor = self.controller.processor
        self._machine_load = LoadReport(
            processor.cores,
            round(max(processor.cores - processor.idle, 0.0), 2),
            round(processor.foreign, 2),
            self._load.memory_bytes,
            counters.available_bytes,
            {
                name: DiskLoad(round(state.busy, 2), round(state.foreign, 2))
                for name, state in self.controller.disks.items()
            },
            round(processor.own, 2),
        )

    # The file.

    def _read_file(self) -> None:
        try:
            found = json.loads(self._path.read_bytes())
            self.controller.load_json(found["machine"])
            for command, row in found["commands"].items():
                self.controller.footprints[command] = Footprint.from_json(row)
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning("cannot read %s: %s; footprints are learned again", self._path, error)

    def _save(self) -> None:
        if not self._is_unsaved:
            return
        self._is_unsaved = False
        commands = {name: each.to_json() for name, each in self.controller.footprints.items()}
        text = json.dumps({"machine": self.controller.to_json(), "commands": commands})
        try:
            files.replace_file(self._path, text.encode())
        except OSError as error:
            log.warning(
                "cannot write %s: %s; footprints are lost at a restart", self._path, error.strerror
            )


def find_leftover_freezes(messages: Sequence[Any]) -> list[FreezeChange]:
    """Return the thaws of jobs that a reaper reports as frozen because of the load."""
    return [
        FreezeChange((each["job"], each["n"]), False, "the load does not limit jobs any more")
        for each in messages
        if each.get("type") == "frozen" and PRESSURE in each["holders"]
    ]
