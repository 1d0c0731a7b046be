"""Runs a function in a child process that kills itself at a given step: a change of a file, or a
statement to the database."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress

from mythjobs.mythtv.database.address import DatabaseAddress
from mythjobs.mythtv.database.connection import MythDatabase

# Audit events of the interpreter that come before a change of a file.
_EVENTS = frozenset({"os.rename", "os.link", "os.remove", "os.chmod", "os.chown", "os.truncate"})
Change = Callable[[MythDatabase], None]


def count_steps(address: DatabaseAddress, change: Change) -> int:
    """Run the change to its end in a child; return the number of its steps."""
    reader, writer = os.pipe()
    status = _run(address, change, 0, writer)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        text = pipe.read()
    assert os.waitstatus_to_exitcode(status) == 0
    return int(text)


def kill_at_step(address: DatabaseAddress, change: Change, step: int) -> None:
    status = _run(address, change, step, None)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL


def _run(address: DatabaseAddress, change: Change, kill_at: int, writer: int | None) -> int:
    pid = os.fork()
    if pid == 0:
        code = 1
        with suppress(BaseException):
            _run_in_child(address, change, kill_at, writer)
            code = 0
        os._exit(code)
    return os.waitpid(pid, 0)[1]


def _run_in_child(
    address: DatabaseAddress, change: Change, kill_at: int, writer: int | None
) -> None:
    steps = 0

    def step() -> None:
        nonlocal steps
        steps += 1
        if steps == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def audit(event: str, arguments: tuple[object, ...]) -> None:
        if event in _EVENTS or (event == "open" and _is_writing(arguments)):
            step()

    sys.addaudithook(audit)
    change(_SteppedDatabase(address, step))
    if writer is not None:
        os.write(writer, str(steps).encode())


def _is_writing(arguments: tuple[object, ...]) -> bool:
    flags = arguments[2]
    return isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR))


class _SteppedDatabase(MythDatabase):
    """Makes a step before each change."""

    def __init__(self, address: DatabaseAddress, step: Callable[[], None]) -> None:
        super().__init__(address)
        self._step = step

    def execute(self, sql: str, *values: object) -> int:
        self._step()
        return super().execute(sql, *values)

    def insert(self, sql: str, *values: object) -> int:
        self._step()
        return super().insert(sql, *values)

    def execute_many(self, sql: str, rows: Sequence[Sequence[object]]) -> None:
        self._step()
        super().execute_many(sql, rows)
