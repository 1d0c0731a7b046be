"""Kinds of jobs whose rate is measured: commands, submission, and the baseline in C for each."""

from __future__ import annotations

import json
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import processes
import support

BATCH: Final = 100
CHAIN: Final = 4
SUBMITTERS: Final = 8
COLLECT_TIMEOUT_S: Final = 60.0
# raw_spawn.c runs the same program.
ECHO: Final = {"argv": ["/bin/echo", "x" * 200], "contain": False}


@dataclass(frozen=True)
class JobKind:
    """A kind of jobs. `baseline` is the kind of the C program that does as much."""

    name: str
    title: str
    definition: Mapping[str, object]
    baseline: str = "raw"

    @property
    def command(self) -> str:
        return str(self.definition["name"])

    def build_arguments(self, jobs: int) -> list[dict[str, str]]:
        """Return the arguments of each job: two jobs in a row have one subject, if any."""
        if "subject" not in self.definition:
            return [{}] * jobs
        return [{"file": f"f{number // 2}"} for number in range(jobs)]

    def run(self, system: support.RunningSystem, jobs: int, in_flight: int | None) -> float:
        """Run jobs to their end and return the rate in jobs per second.

        The time begins before the first submit, and ends after the last end is durable. Jobs with
        dependencies have no batches: they are submitted one by one while the machine runs no jobs,
        and the time begins when it may. in_flight: how many it runs at once; None: as many as its
        load permits.
        """
        if self.name == "dependencies":
            return run_chains(system.api, self.command, jobs, in_flight)
        return run_batches(system.api, self.command, self.build_arguments(jobs))


PLAIN: Final = JobKind("plain", "", support.TRUE)
CONTAINED: Final = JobKind(
    "contained", "contained", support.TRUE | {"name": "true-contained", "contain": True}
)
KINDS: Final = (
    PLAIN,
    CONTAINED,
    JobKind(
        "subjects",
        "two jobs a subject",
        support.TRUE
        | {"name": "true-subject", "subject": "{file}", "parameters": [{"name": "file"}]},
    ),
    JobKind("dependencies", f"chains of {CHAIN} jobs", support.TRUE | {"name": "true-dependency"}),
    JobKind("output", "kept output", ECHO | {"name": "echo"}, baseline="raw-output"),
)


def define_commands(
    api: support.Api, kinds: Sequence[JobKind]
) -> tuple[list[JobKind], dict[str, str]]:
    """Define the commands. Return the accepted kinds, and why each of the others was rejected."""
    accepted, reasons = [], {}
    for kind in kinds:
        try:
            api.post("commands", {"definition": kind.definition, "replace": False})
            accepted.append(kind)
        except support.RequestRejected as refused:
            reasons[kind.name] = str(refused)
    return accepted, reasons


def run_batches(api: support.Api, command: str, arguments: Sequence[Mapping[str, str]]) -> float:
    """Submit batches of 100 jobs, wait for the end of all, and return jobs per second."""
    jobs = len(arguments)
    lines = [json.dumps(each).encode() + b"\n" for each in arguments]
    bodies = [b"".join(lines[start : start + BATCH]) for start in range(0, jobs, BATCH)]
    before = api.counts()
    start_s = time.monotonic()
    batches = [int(api.post("batches", body, command=command)["batch"]) for body in bodies]
    # Earlier batches have usually ended by now; if not, wait for them too.
    api.wait_batch(batches.pop())
    end_s = time.monotonic()
    for batch in reversed(batches):
        if not api.get(f"batches/{batch}")["over"]:
            api.wait_batch(batch)
            end_s = time.monotonic()
    check_succeeded(before, api.counts(), jobs)
    return jobs / (end_s - start_s)


def run_chains(api: support.Api, command: str, jobs: int, in_flight: int | None) -> float:
    """Submit chains of jobs that run one after another; return jobs per second of their runs."""
    [machine] = api.get("machines")["machines"]
    before = api.counts()
    api.post(f"machines/{machine['name']}", {"jobs": 0})
    chains = [range(start, min(start + CHAIN, jobs)) for start in range(0, jobs, CHAIN)]
    lasts = submit_chains(api, command, [len(each) for each in chains])
    start_s = time.monotonic()
    api.post(f"machines/{machine['name']}", {"jobs": "auto" if in_flight is None else in_flight})
    # The chain with the highest ids usually ends last; if not, wait for others too.
    for last in sorted(lasts, reverse=True):
        api.wait_job(last)
        end_s = time.monotonic()
        if api.counts()["succeeded"] - before["succeeded"] >= jobs:
            break
    check_succeeded(before, api.counts(), jobs)
    return jobs / (end_s - start_s)


def submit_chains(api: support.Api, command: str, lengths: Sequence[int]) -> list[int]:
    """Submit chains of these lengths over several connections. Return the last id of each."""
    lasts: list[int] = []
    errors: list[support.BenchError] = []

    def submit_some(lengths: Sequence[int]) -> None:
        connection = api.reopen()
        try:
            for length in lengths:
                after: list[dict[str, Any]] = []
                for _ in range(length):
                    body = {"command": command, "arguments": {}, "after": after}
                    job = int(connection.post("jobs", body)["id"])
                    after = [{"job": job, "when": "ok"}]
                lasts.append(job)
        except support.BenchError as error:
            errors.append(error)
        finally:
            connection.close()

    threads = [
        threading.Thread(target=submit_some, args=[lengths[first::SUBMITTERS]])
        for first in range(SUBMITTERS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return lasts


def check_succeeded(before: Mapping[str, int], after: Mapping[str, int], jobs: int) -> None:
    """Raises BenchError unless this number of jobs succeeded in between."""
    succeeded = after["succeeded"] - before["succeeded"]
    if succeeded != jobs:
        raise support.BenchError(f"of {jobs} jobs {succeeded} succeeded; counts now: {after}")


def wait_collected(system: support.RunningSystem) -> None:
    """Wait until the master has all kept output. Raises BenchError after a minute."""
    output = system.state / "agent" / "output"
    until_s = time.monotonic() + COLLECT_TIMEOUT_S
    while output.is_dir() and any(output.iterdir()):
        if time.monotonic() > until_s:
            raise support.BenchError(f"the output in {output} was not collected within a minute")
        time.sleep(0.02)


class RawFigures(NamedTuple):
    """Results of raw_spawn.c. The CPU time is that of the programs, without raw_spawn itself."""

    jobs_per_s: float
    cpu_us_per_job: float


def run_raw(raw: Path, baseline: str, jobs: int, in_flight: int) -> RawFigures:
    """Run raw_spawn.c. Raises BenchError if it fails."""
    argv = [str(raw), str(jobs), str(in_flight)]
    # A new directory each time: ext4 writes files to disk when they are truncated and replaced.
    with tempfile.TemporaryDirectory(dir=raw.parent) as output:
        if baseline == "raw-output":
            argv.append(output)
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise support.BenchError(done.stderr.strip())
    jobs_per_s, cpu_us_per_job = map(float, done.stdout.split())
    return RawFigures(jobs_per_s, cpu_us_per_job)


class CpuMeter:
    """CPU time of master, agent and reaper since its start."""

    def __init__(self, system: support.RunningSystem) -> None:
        self._pids = system.pids()
        self._before_s = {name: processes.read_cpu_s(pid) for name, pid in self._pids.items()}

    def read_us_per_job(self, jobs: int) -> dict[str, float]:
        return {
            name: (processes.read_cpu_s(pid) - self._before_s[name]) * 1e6 / jobs
            for name, pid in self._pids.items()
        }
