"""One attempt as the reaper holds it: a child with a number, scratch and a status pipe."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import lru_cache
from typing import Any, NamedTuple

from mythjobs.errors import ProtocolError
from mythjobs.model.limits import Limits
from mythjobs.process.procfs import Key
from mythjobs.process.reaper.output import Spool, stream_path
from mythjobs.process.reaper.rmtree import remove_tree
from mythjobs.process.reaper.scribe import Scribe, Written
from mythjobs.process.reaper.status_pipe import StatusPipe, create_status_pipe
from mythjobs.process.reaper.timed_actions import Act, read_acts
from mythjobs.process.spawn import errors
from mythjobs.process.spawn.files import open_input
from mythjobs.process.spawn.stub import PLAIN, Wishes, io_class
from mythjobs.process.spawn.vfork import Program, program
from mythjobs.process.supervise.child import Child
from mythjobs.process.supervise.streams import Stream


class Places(NamedTuple):
    """Where what belongs to attempts is put; `null` is /dev/null, open for reading. `umask` is the
    one that their programs begin with."""

    output: str
    scratch: str
    runtime: str
    null: int
    umask: int


class Attempt(Child):
    """The fields above the line are what was asked for, those below what became of it."""

    __slots__ = (
        "acts", "argv", "cwd", "env", "job", "keep", "n", "places", "scratch", "separate", "status",
        "stdin_path",
        "wishes",
        # Below: filled in by the reaper, then by the spawner.
        "ending_waits", "scratch_path", "spools", "status_pipe", "stdin",
    )  # fmt: skip

    def __init__(self, message: Mapping[str, Any], places: Places) -> None:
        """Raises ProtocolError if this is no `start`."""
        try:
            super().__init__(limits_of(message), bool(message.get("leave_daemons")))
            self.job: int = int(message["job"])
            self.n: int = int(message["n"])
            self.argv: list[str] = message["argv"]
            self.env: dict[str, str] = message["env"]
            self.cwd: str = message.get("cwd") or ""
            self.stdin_path: str = message.get("stdin") or ""
            self.separate: bool = message.get("streams", 1) == 2
            self.contain = bool(message.get("contain"))
            self.best_effort = bool(message.get("best_effort"))
            self.wishes = wishes_of(message)
            self.acts: list[Act] = read_acts(message.get("acts") or ())
            head, tail = message["keep"]
            self.keep: tuple[int, int] = (int(head), int(tail))
            self.watch = bool(message.get("watch"))
            self.scratch: bool = bool(message.get("scratch"))
            self.status: bool = bool(message.get("status"))
        except (LookupError, TypeError, ValueError) as error:
            raise ProtocolError(f"not a start: {error!r}") from None
        self.places = places
        self.spools: list[Written] = []
        self.status_pipe: StatusPipe | None = None
        self.scratch_path = ""
        # It is over but for its output, which is on its way to the disk.
        self.ending_waits = False
        self.stdin = places.null

    @property
    def key(self) -> Key:
        return (self.job, self.n)

    def make_streams(self, scribe: Scribe, then: Callable[[], None]) -> None:
        """Its pipes: one, or two if stderr is to be apart. Raises OSError."""
        for stream in range(1, 3 if self.separate else 2):
            ours, theirs = os.pipe2(os.O_CLOEXEC)
            path = stream_path(self.places.output, self.job, self.n, stream)
            written = Written(scribe, Spool(path, *self.keep), then)
            self.spools.append(written)
            self.streams.append(Stream(ours, written))
            self.ends.append(theirs)
            os.set_blocking(ours, False)

    def prepare(self) -> Program:
        env = self.env
        cwd = self.cwd
        if self.scratch:
            self.scratch_path = _make_scratch(self, self.places.scratch)
            env["MYTHJOBS_DIR"] = self.scratch_path
            cwd = cwd or self.scratch_path
        if self.status:
            self.status_pipe = create_status_pipe(
                f"{self.job}.{self.n}.status", self.places.runtime, self.places.scratch
            )
            env["MYTHJOBS_STATUS"] = self.status_pipe.path
        if self.stdin_path:
            self.stdin = open_input(self.stdin_path)
        ends = self.ends
        what = program(self.argv, env, cwd or "/", self.stdin, ends[0], ends[-1])
        return what._replace(wishes=self.wishes, umask=self.places.umask)

    def prepared(self) -> None:
        if self.stdin != self.places.null:
            os.close(self.stdin)


def wishes_of(message: Mapping[str, Any]) -> Wishes:
    """Raises TypeError and ValueError."""
    nice, io = int(message.get("nice") or 0), message.get("io") or ""
    if not nice and not io:
        return PLAIN
    if io:
        io_class(io)
    return Wishes(nice=nice, io=io)


def limits_of(message: Mapping[str, Any]) -> Limits:
    """The limits that a `start` or `limits` names. Raises TypeError and ValueError."""
    get = message.get
    return _limits(
        get("wall_s"), get("cpu_s"), get("idle_s"), get("memory_bytes"), get("output_bytes"),
        get("processes"), get("grace_s", 10.0),
    )  # fmt: skip


@lru_cache(maxsize=64)
def _limits(
    wall_s: float | None,
    cpu_s: float | None,
    idle_s: float | None,
    memory_bytes: int | None,
    output_bytes: int | None,
    processes: int | None,
    grace_s: float,
) -> Limits:
    """Most attempts of one command have the same, and making them is slow."""
    mosts = (wall_s, cpu_s, idle_s, memory_bytes, output_bytes, processes, grace_s)
    if not all(most is None or 0 <= most < math.inf for most in mosts):
        raise ValueError(f"a limit is below zero, or no figure: {mosts!r}")
    return Limits(
        wall_s, cpu_s, idle_s, memory_bytes, output_bytes, processes, float(grace_s)
    )  # fmt: skip


def _make_scratch(attempt: Attempt, directory: str) -> str:
    path = os.path.join(directory, f"{attempt.job}.{attempt.n}")
    try:
        # What is there by this name was left by a machine that lost its power.
        remove_tree(path)
        os.mkdir(path, 0o700)
    except OSError as error:
        raise errors.at_preparing(error, "its scratch directory") from None
    return path
