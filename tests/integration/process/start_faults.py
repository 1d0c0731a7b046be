"""Starts a program again and again, each time with another system call of the start failing.

Usage: start_faults.py native|pool|stub|contained first|warm. Prints a line of JSON: the number of
cases, and what was wrong. A process of its own, because it forks.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from mythjobs.process import Exited, MythSystem
from tests.support.syscall_faults import Fault, Result, run

_OPTIONS: Final[dict[str, dict[str, Any]]] = {
    "native": {},
    # The spawner in C cannot pass further descriptors.
    "pool": {"pass_fds": [0]},
    "stub": {"pass_fds": [0], "nice": 1},
    "contained": {"contain": True},
}
# What each call may fail with for want of something (its manual page).
_ERRORS: Final = {
    "openat": (errno.EMFILE, errno.ENOMEM),
    "pipe2": (errno.EMFILE,),
    "eventfd2": (errno.EMFILE,),
    "epoll_create1": (errno.EMFILE,),
    "memfd_create": (errno.EMFILE,),
    "pidfd_open": (errno.EMFILE,),
    "fcntl": (errno.EMFILE,),
    "dup": (errno.EMFILE,),
    "dup2": (errno.EMFILE,),
    "dup3": (errno.EMFILE,),
    "clone": (errno.EAGAIN,),
    "clone3": (errno.EAGAIN,),
    "vfork": (errno.EAGAIN,),
    "fork": (errno.EAGAIN,),
}
_OTHERS: Final = (errno.ENOMEM,)
# What each thread of the spawn pool keeps open; a fault may change how many threads there are.
_OF_THREADS: Final = ("/memfd:exec-error", "/dev/null")
_NO_FAULT: Final = Fault("", 0, 0)


class Starts:
    """The program copies its own /proc/self/cgroup, which proves that it ran, and where."""

    def __init__(self, directory: Path, options: dict[str, Any], is_warm: bool) -> None:
        self._directory = directory
        self._program = str(directory / "program")
        shutil.copy("/bin/cp", self._program)
        self._options = options
        self._is_warm = is_warm
        self.reference = self.run(_NO_FAULT)
        # Where there are no cgroups, there is nothing to be contained in.
        self._is_contained = "/mythjobs-" in self._proof.read_text()

    @property
    def _proof(self) -> Path:
        return self._directory / "proof"

    def _start(self, name: str) -> str:
        argv = [self._program, "/proc/self/cgroup", str(self._directory / name)]
        return repr(MythSystem(argv, **self._options).start().wait(10))

    def _prepare(self) -> None:
        if self._is_warm:
            self._start("warm")

    def run(self, fault: Fault) -> Result:
        self._proof.unlink(missing_ok=True)
        return run(
            self._prepare,
            lambda: self._start("proof"),
            lambda: self._start("again"),
            fault,
            is_exempt=self._is_program,
        )

    def _is_program(self, pid: int) -> bool:
        try:
            return os.readlink(f"/proc/{pid}/exe") == self._program
        except OSError:
            return False

    def find_problem(self, result: Result) -> str:
        outcome, has_run = result.report, self._proof.exists()
        if outcome is None or outcome == "None":
            return "hangs"
        if not outcome.startswith(("Exited(code=0)", "NotStarted(")):
            return f"start(): {outcome}"
        if has_run == outcome.startswith("NotStarted"):
            return f"a lie: has_run={has_run}, {outcome}"
        if has_run and self._is_contained and "/mythjobs-" not in self._proof.read_text():
            return "not contained"
        if result.children:
            return f"left running: {result.children}"
        if result.after != repr(Exited(0)):
            return f"the next start: {result.after}"
        if _count_fds(result) > _count_fds(self.reference):
            return f"{_count_fds(result) - _count_fds(self.reference)} descriptors are left open"
        return ""


def _count_fds(result: Result) -> int:
    return sum(not each.startswith(_OF_THREADS) for each in result.descriptors)


def list_faults(reference: Result) -> Iterator[Fault]:
    for name, total in reference.counts.items():
        paths = reference.paths.get(name, [])
        for count in range(1, total + 1):
            # A start in a cgroup reads the same files of each other process with cgroups. On a
            # machine with many of them, that would be hundreds of equal cases.
            path = paths[count - 1] if paths else ""
            if path and path in paths[: count - 1] and path in paths[count:]:
                continue
            for number in _ERRORS.get(name, _OTHERS):
                yield Fault(name, count, number)


def main() -> None:
    variant, moment = sys.argv[1:]
    with tempfile.TemporaryDirectory() as directory:
        starts = Starts(Path(directory), _OPTIONS[variant], moment == "warm")
        assert starts.find_problem(starts.reference) == "", starts.reference
        cases, problems = 0, []
        for fault in list_faults(starts.reference):
            cases += 1
            begin_s = time.monotonic()
            problem = starts.find_problem(starts.run(fault))
            case = f"{fault.name} {fault.nth} {os.strerror(fault.errno)}"
            # Shown if the cases together take too long.
            print(f"{time.monotonic() - begin_s:7.3f} s  {case}", file=sys.stderr)
            if problem:
                problems.append(f"{case}: {problem}")
    print(json.dumps({"cases": cases, "problems": problems}))


if __name__ == "__main__":
    main()
