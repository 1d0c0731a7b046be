"""One attempt in the reaper: a supervised child with output files, scratch directory and status
pipe."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from mythjobs.errors import ProtocolError
from mythjobs.model.limits import Limits
from mythjobs.model.output_window import SMALL_OUTPUT_BYTES
from mythjobs.process.procfs import AttemptKey
from mythjobs.process.reaper.output import OutputSink, OutputWriter
from mythjobs.process.reaper.output_file import OutputFile, stream_path
from mythjobs.process.reaper.rmtree import remove_tree
from mythjobs.process.reaper.status_pipe import StatusPipe, create_status_pipe
from mythjobs.process.reaper.timed_actions import TimedAction, parse_timed_actions
from mythjobs.process.spawn import errors
from mythjobs.process.spawn.files import open_input
from mythjobs.process.spawn.program import (
    NO_SETUP,
    ChildSetup,
    Program,
    make_program,
    parse_io_class,
)
from mythjobs.process.supervise.child import Child
from mythjobs.process.supervise.streams import Stream


class AttemptDirectories(NamedTuple):
    """Directories for the files of attempts, and settings that all their programs have in common.

    `null_fd` is /dev/null, opened for reading; `umask` is the programs' initial umask.
    """

    output: str
    scratch: str
    runtime: str
    null_fd: int
    umask: int


class ReaperAttempt(Child):
    __slots__ = (
        # Attributes taken from the start message.
        "argv", "cwd", "directories", "env", "has_stderr_pipe", "job", "keep_bytes", "n",
        "reports_output", "setup", "stdin_path", "timed_actions", "wants_scratch", "wants_status",
        # Attributes set later, by the reaper's event loop or by the thread that spawns the program.
        "before_spawn", "is_flushing_output", "is_start_reported", "scratch_path", "sinks",
        "status_pipe", "stdin_fd",
    )  # fmt: skip

    def __init__(self, message: Mapping[str, Any], directories: AttemptDirectories) -> None:
        """Parse a `start` message. Raises ProtocolError if it is invalid."""
        try:
            super().__init__(parse_limits(message), bool(message.get("leave_daemons")))
            self.job: int = int(message["job"])
            self.n: int = int(message["n"])
            self.argv: list[str] = message["argv"]
            self.env: dict[str, str] = message["env"]
            self.cwd: str = message.get("cwd") or ""
            self.stdin_path: str = message.get("stdin") or ""
            self.has_stderr_pipe: bool = message.get("streams", 1) == 2
            self.contain = bool(message.get("contain"))
            self.best_effort = bool(message.get("best_effort"))
            self.setup = parse_child_setup(message)
            self.timed_actions: list[TimedAction] = parse_timed_actions(message.get("acts") or ())
            head, tail = message["keep"]
            self.keep_bytes: tuple[int, int] = (int(head), int(tail))
            self.reports_output = bool(message.get("watch"))
            self.wants_scratch: bool = bool(message.get("scratch"))
            self.wants_status: bool = bool(message.get("status"))
        except (LookupError, TypeError, ValueError) as error:
            raise ProtocolError(f"invalid start message: {error!r}") from None
        self.directories = directories
        # First step of prepare(): a function that raises CannotStart if it fails.
        self.before_spawn: Callable[[], None] = _nothing
        self.sinks: list[OutputSink] = []
        self.status_pipe: StatusPipe | None = None
        self.scratch_path = ""
        # True if the attempt has ended, but its `ended` message is delayed until the output writer
        # has written all output.
        self.is_flushing_output = False
        # True if the start is in the journal and was reported to the agent.
        self.is_start_reported = False
        self.stdin_fd = directories.null_fd

    @property
    def key(self) -> AttemptKey:
        return (self.job, self.n)

    @property
    def needs_disk(self) -> bool:
        """True if `prepare` creates or opens files, and may therefore wait for a disk."""
        return self.wants_scratch or self.wants_status or bool(self.stdin_path)

    def create_pipes(self, writer: OutputWriter, on_written: Callable[[], None]) -> None:
        """Create the pipe for stdout and stderr, or two pipes if stderr is kept separately.
        `on_written` is called in the writer's thread. Raises OSError."""
        for stream in range(1, 3 if self.has_stderr_pipe else 2):
            read_fd, write_fd = os.pipe2(os.O_CLOEXEC)
            path = stream_path(self.directories.output, self.job, self.n, stream)
            sink = OutputSink(writer, OutputFile(path, *self.keep_bytes), on_written)
            self.sinks.append(sink)
            self.streams.append(Stream(read_fd, sink))
            self.child_fds.append(write_fd)
            os.set_blocking(read_fd, False)

    def release_output(self) -> None:
        """Write the output that was held back, and all later output, to files."""
        for sink in self.sinks:
            sink.release()

    @property
    def has_small_output(self) -> bool:
        """True if all output was held back, so that the `ended` message can have it."""
        held = sum(len(sink.held) for sink in self.sinks)
        is_complete = held == sum(sink.written_bytes for sink in self.sinks)
        return is_complete and 0 < held <= SMALL_OUTPUT_BYTES and not self.reports_output

    def prepare(self) -> Program:
        self.before_spawn()
        env = self.env
        cwd = self.cwd
        if self.wants_scratch:
            self.scratch_path = _create_scratch(self, self.directories.scratch)
            env["MYTHJOBS_DIR"] = self.scratch_path
            cwd = cwd or self.scratch_path
        if self.wants_status:
            self.status_pipe = create_status_pipe(
                f"{self.job}.{self.n}.status", self.directories.runtime, self.directories.scratch
            )
            env["MYTHJOBS_STATUS"] = self.status_pipe.path
        if self.stdin_path:
            self.stdin_fd = open_input(os.path.join(cwd or "/", self.stdin_path))
        fds = self.child_fds
        program = make_program(self.argv, env, cwd or "/", self.stdin_fd, fds[0], fds[-1])
        return program._replace(setup=self.setup, umask=self.directories.umask)

    def release_resources(self) -> None:
        if self.stdin_fd != self.directories.null_fd:
            os.close(self.stdin_fd)


def _nothing() -> None:
    pass


def parse_child_setup(message: Mapping[str, Any]) -> ChildSetup:
    """Return the nice value and I/O class of a `start` message. Raises TypeError, ValueError."""
    nice, io = int(message.get("nice") or 0), message.get("io") or ""
    if not nice and not io:
        return NO_SETUP
    if io:
        parse_io_class(io)
    return ChildSetup(nice=nice, io=io)


def parse_limits(message: Mapping[str, Any]) -> Limits:
    """Return the limits in a `start` or `limits` message. Raises TypeError, ValueError."""
    get = message.get
    return _make_limits(
        get("wall_s"), get("cpu_s"), get("idle_s"), get("memory_bytes"), get("output_bytes"),
        get("processes"), float(get("grace_s", 10.0)),
    )  # fmt: skip


@lru_cache(maxsize=64)
def _make_limits(*values: Any) -> Limits:
    # Cached, because creating Limits is slow and attempts of one command usually have equal limits.
    if not all(value is None or 0 <= value < math.inf for value in values):
        raise ValueError(f"limits must be finite and not negative: {values!r}")
    return Limits(*values)


def _create_scratch(attempt: ReaperAttempt, directory: str) -> str:
    path = os.path.join(directory, f"{attempt.job}.{attempt.n}")
    try:
        # Remove a directory of this name that a power failure left behind.
        remove_tree(path)
        os.mkdir(path, 0o700)
    except OSError as error:
        raise errors.setup_error(error, f"scratch directory {path}") from None
    return path
