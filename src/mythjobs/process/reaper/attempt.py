"""One attempt in the reaper: a supervised child with output files, scratch directory and status
pipe."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

from mythjobs.errors import ProtocolError
from mythjobs.model.limits import Limits
from mythjobs.model.outcome import NotStarted
from mythjobs.model.output_window import SMALL_OUTPUT_BYTES
from mythjobs.process.procfs import AttemptKey
from mythjobs.process.reaper.numbers import MAX_NUMBER, read_integer, read_number
from mythjobs.process.reaper.output import OutputSink
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

_LIMITS: Final = (
    "wall_s", "cpu_s", "idle_s", "memory_bytes", "output_bytes", "processes", "grace_s",
)  # fmt: skip
_NO_SETTINGS: Final[Mapping[str, Any]] = {"argv": [], "env": {}, "keep": [0, 0]}


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
        "argv", "cwd", "directories", "env", "has_stderr_pipe", "job", "keep_bytes", "key", "n",
        "reports_output", "setup", "start_by_ms", "stdin_path", "timed_actions", "wants_scratch",
        "wants_status",
        # Attributes set later, by the reaper's event loop or by the thread that spawns the program.
        "open_sink", "is_flushing_output", "is_start_reported", "scratch_path", "sinks",
        "status_pipe", "stdin_fd",
    )  # fmt: skip

    def __init__(self, message: Mapping[str, Any], directories: AttemptDirectories) -> None:
        """Parse a `start` message. If its settings are invalid, `not_started` says which one.

        Raises ProtocolError if the message names no attempt.
        """
        try:
            self.job: int = read_integer("job", message["job"], 0, MAX_NUMBER)
            self.n: int = read_integer("n", message["n"], 0, MAX_NUMBER)
        except (LookupError, ValueError) as error:
            raise ProtocolError(f"invalid start message: {error!r}") from None
        self.key: AttemptKey = (self.job, self.n)
        try:
            self._read_settings(message)
        except (LookupError, TypeError, ValueError) as error:
            self._read_settings(_NO_SETTINGS)
            what = f"{error} is missing" if isinstance(error, LookupError) else error
            self.not_started = NotStarted(0, f"the agent's start message is invalid: {what}")
        self.directories = directories
        # Creates the sink of a stream, for its number.
        self.open_sink: Callable[[int], OutputSink] = _no_sink
        self.sinks: list[OutputSink] = []
        self.status_pipe: StatusPipe | None = None
        self.scratch_path = ""
        # True if the attempt has ended, but its `ended` message is delayed until the output writer
        # has written all output.
        self.is_flushing_output = False
        # True if the start is in the journal and was reported to the agent.
        self.is_start_reported = False
        self.stdin_fd = directories.null_fd

    def _read_settings(self, message: Mapping[str, Any]) -> None:
        """Raises LookupError, TypeError, ValueError."""
        super().__init__(parse_limits(message), bool(message.get("leave_daemons")))
        self.argv: list[str] = _read("argv", message["argv"], list)
        self.env: dict[str, str] = _read("env", message["env"], dict)
        self.cwd: str = _read("cwd", message.get("cwd") or "", str)
        self.stdin_path: str = _read("stdin", message.get("stdin") or "", str)
        self.has_stderr_pipe: bool = message.get("streams", 1) == 2
        self.contain = bool(message.get("contain"))
        self.best_effort = bool(message.get("best_effort"))
        self.setup = parse_child_setup(message)
        self.timed_actions: list[TimedAction] = parse_timed_actions(message.get("acts") or ())
        head, tail = _read("keep", message["keep"], list)
        self.keep_bytes: tuple[int, int] = (
            read_integer("keep", head, 0),
            read_integer("keep", tail, 0),
        )
        # Until when an attempt that was sent ahead may start; None: it starts at once.
        self.start_by_ms: int | None = message.get("start_by_ms")
        if self.start_by_ms is not None:
            read_integer("start_by_ms", self.start_by_ms)
        self.reports_output = bool(message.get("watch"))
        self.wants_scratch: bool = bool(message.get("scratch"))
        self.wants_status: bool = bool(message.get("status"))

    @property
    def needs_disk(self) -> bool:
        """True if `prepare` creates or opens files, and may therefore wait for a disk."""
        return self.wants_scratch or self.wants_status or bool(self.stdin_path)

    @property
    def pipe_count(self) -> int:
        """1 for stdout and stderr together, or 2 if stderr is kept separately."""
        return 2 if self.has_stderr_pipe else 1

    def _create_pipes(self) -> None:
        try:
            for _ in range(self.pipe_count):
                read_fd, write_fd = os.pipe2(os.O_CLOEXEC)
                self.add_pipes([read_fd])
                self.child_fds.append(write_fd)
                os.set_blocking(read_fd, False)
        except OSError as error:
            raise errors.setup_error(error, "creating an output pipe") from None

    def add_pipes(self, fds: Sequence[int]) -> None:
        for fd in fds:
            sink = self.open_sink(len(self.sinks) + 1)
            self.sinks.append(sink)
            self.streams.append(Stream(fd, sink))

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
        if not self.native_pipe_count:
            self._create_pipes()
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
        fds = self.child_fds or (-1,)
        return make_program(
            self.argv, env, cwd or "/", self.stdin_fd, fds[0], fds[-1],
            setup=self.setup, umask=self.directories.umask,
        )  # fmt: skip

    def release_resources(self) -> None:
        if self.stdin_fd != self.directories.null_fd:
            os.close(self.stdin_fd)


def _no_sink(_: int) -> OutputSink:
    raise NotImplementedError


def _read(name: str, value: Any, kind: Any) -> Any:
    if not isinstance(value, kind):
        raise ValueError(f"{name} is {value!r:.50}")
    return value


def parse_child_setup(message: Mapping[str, Any]) -> ChildSetup:
    """Return the nice value and I/O class of a `start` message. Raises ValueError."""
    nice, io = message.get("nice") or 0, message.get("io") or ""
    if not nice and not io:
        return NO_SETUP
    if io:
        parse_io_class(_read("io", io, str))
    return ChildSetup(nice=read_integer("nice", nice, -20, 19), io=io)


def parse_limits(message: Mapping[str, Any]) -> Limits:
    """Return the limits in a `start` or `limits` message. Raises ValueError, which names the
    invalid one."""
    get = message.get
    values = (
        get("wall_s"), get("cpu_s"), get("idle_s"), get("memory_bytes"), get("output_bytes"),
        get("processes"), get("grace_s", 10.0),
    )  # fmt: skip
    try:
        return _make_limits(*values)
    except TypeError:  # the cache cannot hold one of them
        return _make_limits.__wrapped__(*values)


@lru_cache(maxsize=64)
def _make_limits(*values: Any) -> Limits:
    # Cached, because creating Limits is slow and attempts of one command usually have equal limits.
    for name, value in zip(_LIMITS, values, strict=True):
        if value is not None or name == "grace_s":
            read_number(name, value, 0)
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
