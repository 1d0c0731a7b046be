"""Kill master, agents and reapers at random moments under load, then hold everything against what
the witnesses saw: `make torture CYCLES=100`.

One cycle kills each of the three once. Beside it, on machines of its own, an agent hangs for longer
than a lease. The last line says what was found; the exit code is 1 if any promise was broken.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import Final

from mythjobs.errors import Unreachable
from tests.acceptance import testimony
from tests.acceptance.household import (
    MACHINES,
    Household,
    TortureError,
    a_household,
    boottime_ns,
    until,
    witness_command,
)
from tests.acceptance.silence import silence
from tests.acceptance.testimony import Kill, Report

# Kept waiting, so that no machine is ever without work.
_BACKLOG: Final = 6
_LONGEST_PAUSE_S: Final = 0.6
_ALL_OVER_S: Final = 120.0


class Load(threading.Thread):
    """Keeps jobs waiting; remembers what was answered, which is what must never be lost."""

    def __init__(self, household: Household, random: Random) -> None:
        super().__init__(daemon=True)
        self._household = household
        self._random = random
        self._enough = threading.Event()
        self.acknowledged: dict[str, int] = {}
        self.cancelled: list[int] = []
        self.failed: Exception | None = None

    def run(self) -> None:
        try:
            while not self._enough.wait(0.02):
                self._submit()
        except Exception as error:
            self.failed = error

    def stop(self) -> None:
        self._enough.set()
        self.join()
        if self.failed is not None:
            raise self.failed

    def _submit(self) -> None:
        try:
            waiting = self._household.get("status")["counts"]["queued"]
        except Unreachable:
            return
        for _ in range(_BACKLOG - waiting):
            key = f"k{len(self.acknowledged)}"
            arguments = {
                "seconds": f"{self._random.choice([0.0, 0.1, 0.4, 1.5]):g}",
                "code": self._random.choice([0, 0, 0, 3]),
            }
            body = {"command": "witness", "arguments": arguments, "key": key}
            job_id = self._household.insist("jobs", body)["id"]
            self.acknowledged[key] = job_id
            if self._random.random() < 0.03:
                [answer] = self._household.insist("jobs/cancel", {"ids": [job_id]})["jobs"]
                if answer["done"]:
                    self.cancelled.append(job_id)


class Torture:
    def __init__(self, household: Household, random: Random) -> None:
        self._household = household
        self._random = random
        self.kills: list[Kill] = []

    def cycle(self) -> None:
        """Each of the three is killed once, in any order, now and then two at once."""
        victims = ["master", "agent", "reaper"]
        self._random.shuffle(victims)
        while victims:
            self._pause()
            together = 2 if len(victims) > 1 and self._random.random() < 0.25 else 1
            for who in victims[:together]:
                self._kill(who)
            del victims[:together]

    def _pause(self) -> None:
        time.sleep(self._random.uniform(0, _LONGEST_PAUSE_S))

    def _kill(self, who: str) -> None:
        household = self._household
        machine = self._random.choice(MACHINES)
        if who == "master":
            household.kill_master()
            self.kills.append(Kill(who, "", boottime_ns()))
            if self._random.random() < 0.3:
                self._pause()
            household.start_master()
        elif who == "agent":
            household.kill_agent(machine)
            self.kills.append(Kill(who, machine, boottime_ns()))
            if self._random.random() < 0.3:
                self._pause()
            household.start_agent(machine)
        else:
            self._kill_reaper(machine)

    def _kill_reaper(self, machine: str) -> None:
        """Of the one that is there; one that was just killed is waited for."""
        until(lambda: self._try_reaper(machine), f"{machine} has no reaper")

    def _try_reaper(self, machine: str) -> bool:
        at_ns = self._household.kill_reaper(machine)
        if at_ns is None:
            return False
        self.kills.append(Kill("reaper", machine, at_ns))
        return True


def settle(household: Household) -> None:
    """Nothing is killed any more: everything must come to its end by itself."""

    def over() -> bool:
        counts = household.get("status")["counts"]
        if not any(counts[state] for state in ("queued", "leased", "running")):
            return True
        held = [e["id"] for e in household.get("jobs", state="queued")["jobs"] if e["hold"]]
        if held:
            # Lost three times in a row: what a person is asked to look at.
            household.post("jobs/release", {"ids": held})
        return False

    until(over, "jobs are left over", _ALL_OVER_S)


def lost_output(household: Household, witnessed: Path, jobs: Iterable[int]) -> list[str]:
    """Where what is kept of a job that ended by itself is not what it wrote, to the byte."""
    wrote = testimony.read_outputs(witnessed / "testimony")
    found = []
    for job_id in jobs:
        attempts = household.get(f"jobs/{job_id}")["attempts"]
        if attempts and attempts[-1]["outcome"]["kind"] == "exited":
            kept = household.output(job_id)
            told = wrote.get((job_id, attempts[-1]["n"]), b"")
            if kept != told:
                found.append(f"I12: {len(told)} bytes of job {job_id}, {len(kept)} are kept")
    return found


def torture(directory: Path, more: Callable[[int], bool], seed: int) -> tuple[Report, list[Kill]]:
    """`more`: whether another cycle is wanted after so many."""
    witnessed = directory / "witness"
    witnessed.mkdir(parents=True)
    found: list[str] = []
    with a_household(directory) as household:
        household.post("commands", {"definition": witness_command(witnessed), "replace": False})
        load = Load(household, Random(seed))
        load.start()
        tormentor = Torture(household, Random(seed + 1))
        try:
            cycles = 0
            while more(cycles):
                tormentor.cycle()
                cycles += 1
        finally:
            load.stop()
        try:
            settle(household)
            found += lost_output(household, witnessed, load.acknowledged.values())
        except TortureError as error:
            found.append(f"I7: {error}")
    jobs, attempts, broken = testimony.read_store(household.state.store)
    told = testimony.read_testimony(witnessed / "testimony")
    report = testimony.audit(
        told, jobs, attempts, load.acknowledged, load.cancelled, tormentor.kills
    )
    report.violations += [*broken, *found]
    return report, tormentor.kills


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--cycles", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", action="store_true", help="leave everything where it is")
    given = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="torture-"))
    began = time.monotonic()
    with ThreadPoolExecutor(1) as pool:
        hung = pool.submit(silence, directory / "silence")
        report, kills = torture(directory / "cycles", lambda done: done < given.cycles, given.seed)
    report.violations += hung.result()
    count = Counter(each.who for each in kills)
    for each in report.violations:
        print(each)
    print(
        f"kill -9 of master {count['master']}, agent {count['agent']}, reaper {count['reaper']} "
        f"times in {time.monotonic() - began:.0f} s (seed {given.seed}): {report.jobs} jobs, "
        f"{report.attempts} attempts, {report.again} begun again after their reaper was killed, "
        f"{report.unseen} never started, {len(report.violations)} violations"
    )
    if given.keep or report.violations:
        print(f"store, logs and testimony are in {directory}")
    else:
        shutil.rmtree(directory)
    return 1 if report.violations else 0


if __name__ == "__main__":
    sys.exit(main())
