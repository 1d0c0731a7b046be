"""Benchmark of automatic scaling: mixes of real jobs, beside the best fixed number of jobs."""

from __future__ import annotations

import argparse
import os
import select
import shutil
import statistics
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple, TypedDict

import figures
import processes
import support

FIXED: Final = [1, 2, 3, 4, 8]
WARM_BAR = 1.05
WARM_MEAN_BAR = 1.0
COLD_BAR = 1.15
LATE_BAR_PERCENT = 1.0
READY_S = 30.0
SMALL_SCALE = 0.1
FOREIGN: Final = "foreign"
PARTS: Final = ["encoders", "mixed", "memory-phases", FOREIGN]
STOP_S = 60.0
# The paced reader reads READ_BYTES in every READ_INTERVAL_S: 20 MB/s.
READ_BYTES: Final = 2_000_000 // 4096 * 4096
READ_INTERVAL_S: Final = 0.1
READ_FILE_BYTES: Final = 500 * 2**20
MEMORY_BYTES: Final = 6 * 2**30

_ENCODE: Final = (
    "ffmpeg -nostdin -loglevel error -f lavfi -i testsrc2=s=1280x720:d={seconds} "
    "-c:v libx264 -threads {threads} -f null -"
)
_WRITE: Final = (
    "trap 'rm -f {directory}/$$' EXIT; dd if=/dev/zero of={directory}/$$ bs=4M count={count} "
    "oflag=direct conv=fsync status=none"
)


# With a fixed number, jobs run at normal priority. Here both get the one of automatic scaling, so
# that what else the machine does slows down both alike.
_LOWEST: Final = (
    "renice -n 19 $$ >/dev/null; ionice -c 3 -p $$; chrt --batch -p 0 $$; "
    "(echo 19 >/proc/self/autogroup) 2>/dev/null; "
)


class Mixes(NamedTuple):
    """Shell commands of the jobs by name, and the jobs of each mix."""

    commands: dict[str, str]
    jobs: dict[str, list[str]]


class MixFigures(TypedDict):
    fixed_s: dict[str, float]
    best_fixed: int
    cold_s: float
    warm_s: float
    cold: float
    warm: float


class Figures(TypedDict):
    """None: not measured, as another part was chosen."""

    mixes: dict[str, MixFigures]
    warm_geometric_mean: float | None
    late_frames_percent: float | None
    foreign_warm_s: float | None


def build_mixes(directory: Path, scale: float) -> Mixes:
    """Return the mixes. scale: factor on the size of each job."""
    seconds, blocks = max(round(20 * scale), 1), max(round(500 * scale), 1)
    encode = _ENCODE.format(seconds=seconds, threads=1)
    memory = min(MEMORY_BYTES, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 4)
    memory = round(memory * min(scale, 1.0))
    write = _WRITE.format(directory=directory, count=blocks)
    phase = _ENCODE.format(seconds=max(seconds // 3, 1), threads=1)
    part = _WRITE.format(directory=directory, count=max(blocks // 3, 1)).partition("; ")[2]
    commands = {
        "encode": encode,
        "encode2": _ENCODE.format(seconds=seconds, threads=2),
        "write": write,
        "copy": f"trap 'rm -f {directory}/$$' EXIT; "
        f"dd if={directory}/source of={directory}/$$ bs=4M iflag=direct oflag=direct conv=fsync "
        "status=none",
        "fetch": f"sleep {max(6 * scale, 0.5):g}",
        "memory": f"exec python3 -c \"import time; data = b'x' * {memory}; "
        f'time.sleep({max(6 * scale, 0.5):g})"',
        "phases": f"trap 'rm -f {directory}/$$' EXIT; {part}; {phase}; {part}; {phase}",
    }
    return Mixes(
        commands,
        {
            "encoders": ["encode"] * 6 + ["encode2"] * 4,
            "mixed": ["encode"] * 4 + ["write"] * 4 + ["copy"] * 2 + ["fetch"] * 8,
            "memory-phases": (
                ["memory"] * 2 + ["phases"] * 4 + ["copy"] * 2 + ["fetch"] * 6 + ["encode2"] * 2
            ),
        },
    )


@contextmanager
def running(state: Path, options: Sequence[str]) -> Iterator[support.Api]:
    """Run `mythjobs up` with these options, and stop it and its jobs at the end."""
    up = subprocess.Popen(
        [support.MYTHJOBS, "--state-dir", state, "up", "--port", "0", "--stop-jobs", *options],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env=support.build_environment(),
    )
    try:
        assert up.stdout is not None
        with up.stdout as stdout:
            ready, _, _ = select.select([stdout], [], [], READY_S)
            if not ready or not stdout.readline().startswith(support.READY):
                raise support.BenchError("mythjobs up did not start")
            api = support.RunningSystem(state).api
            try:
                yield api
            finally:
                api.close()
                up.terminate()
                up.wait(STOP_S)
    finally:
        up.kill()
        up.wait()
        processes.terminate_all(state, STOP_S)


def run_mix(
    state: Path, mixes: Mixes, name: str, options: Sequence[str], prefix: str = ""
) -> float:
    """Run the jobs of a mix, and return the seconds from the first submit to the last end.

    prefix: of the shell text of each job.
    """
    with running(state, options) as api:
        for command in sorted(set(mixes.jobs[name])):
            define(api, command, prefix + mixes.commands[command])
        began = time.monotonic()
        jobs = [api.submit(command) for command in mixes.jobs[name]]
        for job in jobs:
            api.wait_job(job)
        return time.monotonic() - began


def define(api: support.Api, name: str, shell: str) -> None:
    api.post("commands", {"definition": {"name": name, "shell": shell}, "replace": True})


def measure(arguments: argparse.Namespace) -> Figures:
    for program in ("ffmpeg", "dd", "python3"):
        if shutil.which(program) is None:
            raise support.BenchError(f"the jobs need {program}; install it")
    parts = arguments.mix or PARTS
    late_percent = foreign_s = None
    with support.temporary_directory() as directory:
        support.show_progress("scaling: preparing …")
        mixes = build_mixes(directory, arguments.scale)
        write_file(directory / "source", round(READ_FILE_BYTES * arguments.scale))
        found = {
            name: measure_mix(directory, mixes, name, arguments)
            for name in mixes.jobs
            if name in parts
        }
        if FOREIGN in parts:
            support.show_progress("scaling: beside a paced reader …")
            state = support.new_state(directory)
            run_mix(state, mixes, "mixed", [])
            with PacedReader(directory) as reader:
                foreign_s = run_mix(state, mixes, "mixed", [])
            late_percent = reader.late_percent
    ratios = [each["warm"] for each in found.values()]
    return {
        "mixes": found,
        "warm_geometric_mean": statistics.geometric_mean(ratios) if ratios else None,
        "late_frames_percent": late_percent,
        "foreign_warm_s": foreign_s,
    }


def measure_mix(
    directory: Path, mixes: Mixes, name: str, arguments: argparse.Namespace
) -> MixFigures:
    fixed: dict[int, list[float]] = {count: [] for count in arguments.fixed or FIXED}
    cold, warm = [], []
    for number in range(arguments.rounds):
        # All settings in every round: the speed of a machine varies over time.
        for count, seconds in fixed.items():
            support.show_progress(f"scaling: {name}, round {number + 1}, {count} at once …")
            options = ["--jobs", str(count), "--no-scaling"]
            seconds.append(run_mix(support.new_state(directory), mixes, name, options, _LOWEST))
        support.show_progress(f"scaling: {name}, round {number + 1}, automatic …")
        state = support.new_state(directory)
        cold.append(run_mix(state, mixes, name, []))
        warm.append(run_mix(state, mixes, name, []))
    medians = {count: statistics.median(seconds) for count, seconds in fixed.items()}
    best = min(medians, key=lambda count: medians[count])
    cold_s, warm_s = statistics.median(cold), statistics.median(warm)
    return {
        "fixed_s": {str(count): seconds for count, seconds in medians.items()},
        "best_fixed": best,
        "cold_s": cold_s,
        "warm_s": warm_s,
        "cold": cold_s / medians[best],
        "warm": warm_s / medians[best],
    }


def write_file(path: Path, size: int) -> None:
    with path.open("wb") as file:
        block = os.urandom(2**20)
        for _ in range(max(size // len(block), 8)):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())


class PacedReader:
    """Reads a file at 20 MB/s beside the jobs, past the page cache, as a player or a recorder
    would, and counts the reads that take longer than their interval."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "source"
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._read)
        self._reads = self._late = 0

    def __enter__(self) -> PacedReader:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    @property
    def late_percent(self) -> float:
        return 100 * self._late / max(self._reads, 1)

    def _read(self) -> None:
        fd = os.open(self._path, os.O_RDONLY)
        size = os.fstat(fd).st_size
        offset, due = 0, time.monotonic()
        try:
            while not self._stopping.is_set():
                os.posix_fadvise(fd, offset, READ_BYTES, os.POSIX_FADV_DONTNEED)
                os.pread(fd, READ_BYTES, offset)
                offset = (offset + READ_BYTES) % max(size - READ_BYTES, 1)
                due += READ_INTERVAL_S
                left = due - time.monotonic()
                self._reads += 1
                if left < 0:
                    self._late += 1
                    due = time.monotonic()
                else:
                    self._stopping.wait(left)
        finally:
            os.close(fd)


def rows(result: Figures) -> tuple[str, list[figures.Row]]:
    lines = []
    for name, mix in result["mixes"].items():
        best_s = mix["fixed_s"][str(mix["best_fixed"])]
        baseline = f"{mix['best_fixed']} at once {best_s:.1f} s"
        for kind, bar, seconds, ratio in (
            ("cold", COLD_BAR, mix["cold_s"], mix["cold"]),
            ("warm", WARM_BAR, mix["warm_s"], mix["warm"]),
        ):
            lines.append(
                figures.Row(
                    f"{name}, {kind}", f"{seconds:.1f} s", baseline, f"{ratio:.2f}", f"≤ {bar}",
                    ratio <= bar,
                )
            )  # fmt: skip
    mean, late = result["warm_geometric_mean"], result["late_frames_percent"]
    if mean is not None:
        is_met = mean <= WARM_MEAN_BAR
        lines.append(figures.Row("mean, warm", "", "", f"{mean:.2f}", f"≤ {WARM_MEAN_BAR}", is_met))
    if late is not None:
        is_met = late < LATE_BAR_PERCENT
        lines.append(
            figures.Row("late reads", f"{late:.1f} %", bar=f"< {LATE_BAR_PERCENT} %", is_met=is_met)
        )
    return "scaling: jobs at once by the load, against the best fixed number", lines


def read_scale(text: str) -> float:
    return SMALL_SCALE if text == "small" else float(text)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="scaling", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--scale", type=read_scale, default=1.0, metavar="FACTOR|small",
        help="factor on the size of each job; small is 0.1",
    )  # fmt: skip
    parser.add_argument(
        "--fixed", type=int, nargs="+", help="fixed numbers of jobs to compare with"
    )
    parser.add_argument(
        "--mix", action="append", choices=PARTS,
        help="measure only this mix, or the late reads beside the jobs; may be repeated",
    )  # fmt: skip
    figures.run_benchmark(parser, measure, rows)
