"""Torture test: kills master, agents and reapers at random under load, then audits the result.

`make torture CYCLES=100`. One cycle kills each of the three once. Meanwhile, on another cluster,
an agent hangs for longer than a lease. The last line is a summary; exit code 1 means violations.
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
from tests.acceptance import execution_audit
from tests.acceptance.agent_hang import run_hang_test
from tests.acceptance.execution_audit import AuditReport, Kill
from tests.acceptance.local_cluster import (
    MACHINES,
    ClusterError,
    LocalCluster,
    boottime_ns,
    logging_command,
    run_cluster,
    wait_until,
)

# Queued jobs, so that no machine is idle.
_MIN_QUEUED: Final = 6
_MAX_PAUSE_S: Final = 0.6
_ALL_ENDED_TIMEOUT_S: Final = 120.0


class LoadGenerator(threading.Thread):
    """Keeps jobs queued, and records acknowledged submits and cancels: none may be lost."""

    def __init__(self, cluster: LocalCluster, random: Random) -> None:
        super().__init__(daemon=True)
        self._cluster = cluster
        self._random = random
        self._stop_event = threading.Event()
        self.acknowledged: dict[str, int] = {}
        self.cancelled: list[int] = []
        self.failed: Exception | None = None

    def run(self) -> None:
        try:
            while not self._stop_event.wait(0.02):
                self._submit()
        except Exception as error:
            self.failed = error

    def stop(self) -> None:
        self._stop_event.set()
        self.join()
        if self.failed is not None:
            raise self.failed

    def _submit(self) -> None:
        try:
            waiting = self._cluster.get("status")["counts"]["queued"]
        except Unreachable:
            return
        for _ in range(_MIN_QUEUED - waiting):
            key = f"k{len(self.acknowledged)}"
            arguments = {
                "seconds": f"{self._random.choice([0.0, 0.1, 0.4, 1.5]):g}",
                "code": self._random.choice([0, 0, 0, 3]),
            }
            body = {"command": "log", "arguments": arguments, "key": key}
            job_id = self._cluster.post_until_answered("jobs", body)["id"]
            self.acknowledged[key] = job_id
            if self._random.random() < 0.03:
                [answer] = self._cluster.post_until_answered("jobs/cancel", {"ids": [job_id]})[
                    "jobs"
                ]
                if answer["done"]:
                    self.cancelled.append(job_id)


class FaultInjector:
    def __init__(self, cluster: LocalCluster, random: Random) -> None:
        self._cluster = cluster
        self._random = random
        self.kills: list[Kill] = []

    def run_cycle(self) -> None:
        """Kill each of the three once in random order, sometimes two at once."""
        victims = ["master", "agent", "reaper"]
        self._random.shuffle(victims)
        while victims:
            self._pause()
            together = 2 if len(victims) > 1 and self._random.random() < 0.25 else 1
            for program in victims[:together]:
                self._kill(program)
            del victims[:together]

    def _pause(self) -> None:
        time.sleep(self._random.uniform(0, _MAX_PAUSE_S))

    def _kill(self, program: str) -> None:
        cluster = self._cluster
        machine = self._random.choice(MACHINES)
        if program == "master":
            cluster.kill_master()
            self.kills.append(Kill(program, "", boottime_ns()))
            if self._random.random() < 0.3:
                self._pause()
            cluster.start_master()
        elif program == "agent":
            cluster.kill_agent(machine)
            self.kills.append(Kill(program, machine, boottime_ns()))
            if self._random.random() < 0.3:
                self._pause()
            cluster.start_agent(machine)
        else:
            self._kill_reaper(machine)

    def _kill_reaper(self, machine: str) -> None:
        """Kill the reaper; if it was just killed, wait for the next."""
        wait_until(lambda: self._try_reaper(machine), f"{machine} has no reaper")

    def _try_reaper(self, machine: str) -> bool:
        at_ns = self._cluster.kill_reaper(machine)
        if at_ns is None:
            return False
        self.kills.append(Kill("reaper", machine, at_ns))
        return True


def wait_all_ended(cluster: LocalCluster) -> None:
    """Wait until all jobs have ended, without further kills. Release held jobs."""

    def have_all_ended() -> bool:
        counts = cluster.get("status")["counts"]
        if not any(counts[state] for state in ("queued", "leased", "running")):
            return True
        held = [e["id"] for e in cluster.get("jobs", state="queued")["jobs"] if e["hold"]]
        if held:
            # Jobs are held after three lost attempts in a row.
            cluster.post("jobs/release", {"ids": held})
        return False

    wait_until(have_all_ended, "jobs have not ended", _ALL_ENDED_TIMEOUT_S)


def find_lost_output(cluster: LocalCluster, log_directory: Path, jobs: Iterable[int]) -> list[str]:
    """Compare the kept output of jobs that exited with what they wrote."""
    written_outputs = execution_audit.read_outputs(log_directory / "executions")
    found = []
    for job_id in jobs:
        attempts = cluster.get(f"jobs/{job_id}")["attempts"]
        if attempts and attempts[-1]["outcome"]["kind"] == "exited":
            kept = cluster.read_output(job_id)
            written = written_outputs.get((job_id, attempts[-1]["n"]), b"")
            if kept != written:
                found.append(
                    f"I12: job {job_id} wrote {len(written)} bytes, but {len(kept)} are kept"
                )
    return found


def run_torture_test(
    directory: Path, is_cycle_wanted: Callable[[int], bool], seed: int
) -> tuple[AuditReport, list[Kill]]:
    """Run cycles while `is_cycle_wanted` of their number so far."""
    log_directory = directory / "job-log"
    log_directory.mkdir(parents=True)
    found: list[str] = []
    with run_cluster(directory) as cluster:
        cluster.post("commands", {"definition": logging_command(log_directory), "replace": False})
        load = LoadGenerator(cluster, Random(seed))
        load.start()
        injector = FaultInjector(cluster, Random(seed + 1))
        try:
            cycles = 0
            while is_cycle_wanted(cycles):
                injector.run_cycle()
                cycles += 1
        finally:
            load.stop()
        try:
            wait_all_ended(cluster)
            found += find_lost_output(cluster, log_directory, load.acknowledged.values())
        except ClusterError as error:
            found.append(f"I7: {error}")
    jobs, attempts, broken = execution_audit.read_store(cluster.state.store)
    logs = execution_audit.read_execution_log(log_directory / "executions")
    report = execution_audit.audit(
        logs, jobs, attempts, load.acknowledged, load.cancelled, injector.kills
    )
    report.violations += [*broken, *found]
    return report, injector.kills


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--cycles", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", action="store_true", help="keep state directories and logs")
    args = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="torture-"))
    start_s = time.monotonic()
    with ThreadPoolExecutor(1) as pool:
        hang_result = pool.submit(run_hang_test, directory / "hang")
        report, kills = run_torture_test(
            directory / "cycles", lambda done: done < args.cycles, args.seed
        )
    report.violations += hang_result.result()
    count = Counter(each.program for each in kills)
    for each in report.violations:
        print(each)
    print(
        f"kill -9 of master {count['master']}, agent {count['agent']}, reaper {count['reaper']} "
        f"times in {time.monotonic() - start_s:.0f} s (seed {args.seed}): {report.jobs} jobs, "
        f"{report.attempts} attempts, {report.reruns} rerun after a kill of their reaper, "
        f"{report.never_started} never started, {len(report.violations)} violations"
    )
    if args.keep or report.violations:
        print(f"store and logs are in {directory}")
    else:
        shutil.rmtree(directory)
    return 1 if report.violations else 0


if __name__ == "__main__":
    sys.exit(main())
