"""Benchmark of the same job, /bin/true, through mythjobs and other job queues."""

from __future__ import annotations

import argparse
import math
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypedDict

import figures
import job_kinds
import peer_base
import processes
import support
from peer_base import CpuMeter, Peer, Place, RunningPeer
from peer_clusters import HyperQueue, Slurm, TaskSpooler
from peer_queues import Beanstalkd, Huey, Pgqueuer

WARM_UP: Final = 100


class PeerFigures(TypedDict):
    name: str
    setting: str
    version: str
    durability: str
    jobs: int
    jobs_per_s: float
    raw_c_per_s: float
    ratio: float
    cpu_us_per_job: float


class Figures(TypedDict):
    in_flight: int
    peers: list[PeerFigures]
    skipped: dict[str, str]
    fsync_p50_ms: float


class MythjobsRun(RunningPeer):
    def __init__(self, system: support.RunningSystem, kind: job_kinds.JobKind, slots: int) -> None:
        self._system, self._kind, self._slots = system, kind, slots

    def run(self, jobs: int) -> float:
        return jobs / self._kind.run(self._system, jobs, self._slots)


class Mythjobs(Peer):
    """mythjobs, without and with a cgroup for each job."""

    name = "mythjobs"
    durability = "power cut: each answer and end after fdatasync"

    def __init__(self, kind: job_kinds.JobKind) -> None:
        self._kind = kind
        self.setting = kind.title

    def find_missing(self, python: Path) -> str | None:
        return None

    def read_version(self, python: Path) -> str:
        return peer_base.read_output([support.MYTHJOBS, "--version"]).split()[-1]

    @contextmanager
    def start(self, place: Place) -> Iterator[RunningPeer]:
        with support.mythjobs_up(place.directory, place.in_flight) as system:
            _, rejected = job_kinds.define_commands(system.api, [self._kind])
            for reason in rejected.values():
                raise support.BenchError(reason)
            yield MythjobsRun(system, self._kind, place.in_flight)


PEERS: Final[Sequence[Peer]] = (
    Mythjobs(job_kinds.PLAIN),
    Mythjobs(job_kinds.CONTAINED),
    Beanstalkd(["-b", "DIR", "-f0"], "power cut: each put and delete is synced"),
    Beanstalkd(["-b", "DIR"], "kill -9; power cut without the last 50 ms"),
    Beanstalkd([], "nothing: memory"),
    Pgqueuer(),
    Huey(),
    HyperQueue(),
    TaskSpooler(),
    Slurm(),
)
NAMES: Final = tuple(dict.fromkeys(peer.name for peer in PEERS))


def measure(arguments: argparse.Namespace) -> Figures:
    processes.adopt_orphans()
    try:
        return measure_all(choose_peers(arguments.only), arguments)
    finally:
        processes.kill_descendants()


def choose_peers(names: Sequence[str] | None) -> list[Peer]:
    """Return all rows of the peers with these names; all peers without names."""
    return [peer for peer in PEERS if names is None or peer.name in names]


def measure_all(peers: Sequence[Peer], arguments: argparse.Namespace) -> Figures:
    found: list[PeerFigures] = []
    present, skipped = split_missing(peers, arguments.python)
    if not present:
        raise support.BenchError("nothing to measure: " + "; ".join(skipped.values()))
    with support.temporary_directory() as directory:
        raw = support.compile_c("raw_spawn.c", directory)
        disk = figures.DiskProbe(directory)
        disk.measure()
        for peer in present:
            support.show_progress(f"peers: starting {peer.title} …")
            try:
                found.append(measure_peer(peer, raw, directory, arguments))
            except support.BenchError as error:
                skipped[peer.title] = str(error)
            # What a peer has left behind would slow down the next one.
            processes.kill_descendants()
        disk.measure()
    if not found:
        raise support.BenchError("nothing was measured: " + "; ".join(skipped.values()))
    return {
        "in_flight": arguments.in_flight,
        "peers": found,
        "skipped": skipped,
        "fsync_p50_ms": disk.p50_ms,
    }


def split_missing(peers: Sequence[Peer], python: Path) -> tuple[list[Peer], dict[str, str]]:
    """Return the peers that are installed, and what to install for each of the others."""
    missing = {peer.title: peer.find_missing(python) for peer in peers}
    skipped = {title: sentence for title, sentence in missing.items() if sentence is not None}
    return [peer for peer in peers if peer.title not in skipped], skipped


def measure_peer(
    peer: Peer, raw: Path, directory: Path, arguments: argparse.Namespace
) -> PeerFigures:
    """Return medians of rounds that alternate with raw_spawn.c. Raises BenchError."""
    rates, raw_rates, cpu_us = [], [], []
    place = Place(
        Path(tempfile.mkdtemp(prefix="p", dir=directory)), arguments.python, arguments.in_flight
    )
    with peer.start(place) as running:
        jobs = WARM_UP
        for _ in range(2):  # the first run is slower than those that follow
            jobs_per_s = jobs / running.run(jobs)
            jobs = choose_jobs(jobs_per_s, arguments.jobs, arguments.seconds)
        for number in range(1, arguments.rounds + 1):
            support.show_progress(
                f"peers: {peer.title}, round {number} of {arguments.rounds}, {jobs} jobs …"
            )
            baseline = job_kinds.run_raw(raw, "raw", arguments.jobs, arguments.in_flight)
            meter = CpuMeter(running)
            elapsed_s = running.run(jobs)
            cpu_us.append(meter.read_us_per_job(jobs, baseline.cpu_us_per_job))
            rates.append(jobs / elapsed_s)
            raw_rates.append(baseline.jobs_per_s)
    jobs_per_s, raw_c_per_s = statistics.median(rates), statistics.median(raw_rates)
    return {
        "name": peer.name,
        "setting": peer.setting,
        "version": peer.read_version(arguments.python),
        "durability": peer.durability,
        "jobs": jobs,
        "jobs_per_s": jobs_per_s,
        "raw_c_per_s": raw_c_per_s,
        "ratio": jobs_per_s / raw_c_per_s,
        "cpu_us_per_job": statistics.median(cpu_us),
    }


def choose_jobs(jobs_per_s: float, most: int, seconds: float) -> int:
    """Return the number of jobs of a round: what takes about `seconds`, at least the warm-up's."""
    return max(min(most, math.ceil(jobs_per_s * seconds)), WARM_UP)


def build_table(result: Figures) -> str:
    """Return the title, a line for each measured peer, and one for each skipped one."""
    header = ("", "version", "jobs/s", "raw C", "ratio", "CPU per job", "survives")
    cells = [header] + [
        (
            f"{each['name']} {each['setting']}".strip(),
            each["version"],
            f"{each['jobs_per_s']:,.0f}",
            f"{each['raw_c_per_s']:,.0f}",
            f"{each['ratio']:.3f}",
            f"{each['cpu_us_per_job']:,.0f} µs",
            each["durability"],
        )
        for each in result["peers"]
    ]
    widths = [max(len(line[column]) for line in cells) for column in range(len(header))]
    lines = [f"peers: /bin/true, {result['in_flight']} in flight, first submit to last end"]
    for line in cells:
        first, *numbers = [f"{cell:>{width}}" for cell, width in zip(line, widths, strict=True)]
        lines.append("  ".join(["", f"{line[0]:<{len(first)}}", *numbers[:-1], line[-1]]).rstrip())
    lines += [f"  {title}: skipped: {reason}" for title, reason in result["skipped"].items()]
    lines.append(f"  fsync p50 {result['fsync_p50_ms']:.2f} ms")
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="peers", description=__doc__)
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=NAMES, help=", ".join(NAMES))
    parser.add_argument("--jobs", type=int, default=3000, help="jobs a round, at most")
    parser.add_argument("--seconds", type=float, default=4.0, help="of a round, about")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--in-flight", type=int, default=8)
    parser.add_argument(
        "--python",
        type=Path,
        default=peer_base.PEERS_PYTHON,
        help="interpreter with the packages of the peers (default: .venv/peers/bin/python)",
    )
    figures.run_program(parser, measure, lambda result: print(build_table(result)))
