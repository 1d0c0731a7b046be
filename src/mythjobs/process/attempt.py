"""One attempt as the reaper holds it, and its start, which runs in a spawner's thread."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from typing import NamedTuple

from mythjobs.clock import Now, machine_now
from mythjobs.errors import ProtocolError
from mythjobs.model.limits import Usage
from mythjobs.model.outcome import NotStarted, Outcome
from mythjobs.process import refusal
from mythjobs.process.loop import log_exception
from mythjobs.process.output import Spool, stream_path
from mythjobs.process.refusal import CannotStart
from mythjobs.process.spawn import Spawn, program
from mythjobs.process.status import StatusPipe
from mythjobs.process.tree import Key
from mythjobs.process.wire import Message


class Places(NamedTuple):
    """Where what belongs to attempts is put; `null` is /dev/null, open for reading."""

    output: str
    scratch: str
    runtime: str
    null: int


class Stream(NamedTuple):
    """A pipe that the job writes into, and what is kept of it."""

    fd: int
    spool: Spool


class Attempt:
    """The fields above the line are what was asked for, those below what became of it."""

    __slots__ = (
        "argv", "cwd", "env", "grace_s", "job", "keep", "n", "scratch", "separate", "status",
        "stdin", "wall_s", "watch",
        # Below: filled in by the spawner, then by the reaper.
        "after_ms", "born", "ending", "ends", "exit_status", "exited", "grace_over", "killing",
        "known", "not_started", "open", "pid", "pidfd", "scratch_path", "status_pipe", "streams",
        "timers", "tracked", "usage",
    )  # fmt: skip

    def __init__(self, message: Message) -> None:
        """Raises ProtocolError if this is no `start`."""
        try:
            self.job: int = int(message["job"])
            self.n: int = int(message["n"])
            self.argv: list[str] = message["argv"]
            self.env: dict[str, str] = message["env"]
            self.cwd: str = message.get("cwd") or ""
            self.stdin: str = message.get("stdin") or ""
            self.separate: bool = message.get("streams", 1) == 2
            head, tail = message["keep"]
            self.keep: tuple[int, int] = (int(head), int(tail))
            self.wall_s: float | None = message.get("wall_s")
            self.grace_s: float = float(message.get("grace_s", 10.0))
            self.watch: bool = bool(message.get("watch"))
            self.scratch: bool = bool(message.get("scratch"))
            self.status: bool = bool(message.get("status"))
        except (LookupError, TypeError, ValueError) as error:
            raise ProtocolError(f"not a start: {error!r}") from None
        self.pid = self.pidfd = -1
        # The reaper's loop has seen it start, and has said so.
        self.known = False
        self.after_ms = 0
        self.born: Now | None = None
        self.not_started: NotStarted | None = None
        self.streams: list[Stream] = []
        # The child's ends of its pipes, until it has been spawned.
        self.ends: list[int] = []
        self.open: list[Stream] = []
        self.tracked = False
        self.status_pipe: StatusPipe | None = None
        self.scratch_path = ""
        # Why we are ending it, once we are; and whether its time to end by itself is over.
        self.ending: Outcome | None = None
        self.grace_over = self.killing = False
        # Its leader is dead, and still there to be reaped; then reaped, with this status.
        self.exited = False
        self.exit_status: int | None = None
        self.usage = Usage()
        self.timers: list[list[Callable[[], None]]] = []

    def call_off(self) -> None:
        for timer in self.timers:
            timer.clear()
        self.timers.clear()

    @property
    def key(self) -> Key:
        return (self.job, self.n)


def make_streams(attempt: Attempt, directory: str) -> None:
    """Its pipes: one, or two if stderr is to be apart. Raises OSError."""
    for stream in range(1, 3 if attempt.separate else 2):
        ours, theirs = os.pipe2(os.O_CLOEXEC)
        path = stream_path(directory, attempt.job, attempt.n, stream)
        attempt.streams.append(Stream(ours, Spool(path, *attempt.keep)))
        attempt.ends.append(theirs)
        os.set_blocking(ours, False)


def start(attempt: Attempt, places: Places, spawn: Spawn) -> None:
    """Make what else it needs and spawn it. Never raises: what went wrong is its outcome."""
    try:
        _start(attempt, places, spawn)
    except CannotStart as refused:
        attempt.not_started = refused.outcome()
    except OSError as error:
        attempt.not_started = refusal.at_preparing(error, "this machine").outcome()
    except Exception as error:
        log_exception()
        attempt.not_started = NotStarted(0, f"a bug of ours: {error!r}")


def _start(attempt: Attempt, places: Places, spawn: Spawn) -> None:
    env = attempt.env
    cwd = attempt.cwd
    if attempt.scratch:
        attempt.scratch_path = _make_scratch(attempt, places.scratch)
        env["MYTHJOBS_DIR"] = attempt.scratch_path
        cwd = cwd or attempt.scratch_path
    if attempt.status:
        attempt.status_pipe = _make_status_pipe(attempt, places.runtime)
        env["MYTHJOBS_STATUS"] = os.path.join(places.runtime, f"{attempt.job}.{attempt.n}.status")
    stdin = _open_stdin(attempt.stdin) if attempt.stdin else places.null
    try:
        ends = attempt.ends
        what = program(attempt.argv, env, cwd or "/", stdin, ends[0], ends[-1])
        attempt.after_ms = machine_now().steady_ms
        attempt.pid = spawn(what)
        attempt.born = machine_now()
    finally:
        if stdin != places.null:
            os.close(stdin)


def _make_scratch(attempt: Attempt, directory: str) -> str:
    path = os.path.join(directory, f"{attempt.job}.{attempt.n}")
    try:
        # What is there by this name was left by a machine that lost its power.
        remove_scratch(path)
        os.mkdir(path, 0o700)
    except OSError as error:
        raise refusal.at_preparing(error, "its scratch directory") from None
    return path


def remove_scratch(path: str) -> None:
    """rmtree() follows no symbolic link here, also if one is put in place meanwhile."""
    shutil.rmtree(path, ignore_errors=True)


def _make_status_pipe(attempt: Attempt, directory: str) -> StatusPipe:
    path = os.path.join(directory, f"{attempt.job}.{attempt.n}.status")
    try:
        if os.path.lexists(path):
            os.unlink(path)
        return StatusPipe(path)
    except OSError as error:
        raise refusal.at_preparing(error, "its status pipe") from None


def _open_stdin(path: str) -> int:
    try:
        # Opening a FIFO that nobody writes into would wait for a writer, for ever.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        os.set_blocking(fd, True)
    except OSError as error:
        raise refusal.at_preparing(error, f"its input {refusal.printable(path)}") from None
    except ValueError:
        raise CannotStart(0, "the name of its input has a NUL byte in it") from None
    return fd
