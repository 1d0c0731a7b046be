"""What other users of the machine can read about a job: nothing of its environment."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mythjobs.process import procfs
from mythjobs.process.spawn import stub
from mythjobs.process.spawn.program import ChildSetup, make_program
from mythjobs.process.spawn.vfork import Vfork
from tests.integration.process.reaper_agent import TIMEOUT_S, Home, reaper, sh

_SECRET = "correct-horse-battery-staple"


@pytest.fixture(params=["compiled", "interpreted"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    if request.param == "compiled" and not os.access(stub.compiled_stub()[0], os.X_OK):
        pytest.skip("the stub is not compiled here")
    stub._pinned_stub.cache_clear()
    monkeypatch.setattr(stub, "find_stub", getattr(stub, f"{request.param}_stub"))
    yield
    stub._pinned_stub.cache_clear()


@contextmanager
def stub_in_setup(directory: Path) -> Iterator[int]:
    """Yield the pid of a stub that waits before it executes its program, which then must end."""
    gate = directory / "gate"
    os.mkfifo(gate)
    null = os.open(os.devnull, os.O_RDWR)
    env = {"PATH": "/usr/bin:/bin", "TOKEN": _SECRET, "MYTHJOBS_JOB": "7", "MYTHJOBS_ATTEMPT": "2"}
    program = make_program(["true"], env, "/", null, null, null)
    # The stub's open() of the FIFO for writing waits for a reader.
    program = program._replace(setup=ChildSetup(cgroup_files=(str(gate),)))
    statuses: list[int] = []

    def run() -> None:
        vfork = Vfork()
        statuses.append(os.waitpid(vfork.spawn(program), 0)[1])
        vfork.close()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield _wait_for_child(thread)
    finally:
        reader = os.open(gate, os.O_RDONLY)
        thread.join(TIMEOUT_S)
        os.close(reader)
        os.close(null)
    assert statuses == [0]


def _wait_for_child(thread: threading.Thread) -> int:
    """Return the pid of the thread's child once its program is the stub."""
    assert thread.native_id
    own = procfs.read_command_line(os.getpid())
    for _ in range(12_000):
        for pid in procfs.list_thread_children(os.getpid(), thread.native_id):
            line = procfs.read_command_line(pid)
            if line and line != own:
                return pid
        thread.join(0.005)
    raise AssertionError("the stub did not start")


def test_the_environment_is_not_on_the_command_line_of_the_stub(kind: None, tmp_path: Path) -> None:
    # Seen: every user of the machine could read the variables of contained jobs, with all their
    # secrets, in /proc/PID/cmdline.
    with stub_in_setup(tmp_path) as pid:
        assert _SECRET.encode() not in procfs.read_command_line(pid)
        assert stat.S_IMODE(os.stat(f"/proc/{pid}/environ").st_mode) == 0o400


def test_a_process_in_setup_has_the_mark_of_its_attempt(kind: None, tmp_path: Path) -> None:
    with stub_in_setup(tmp_path) as pid:
        assert procfs.read_attempt_mark(pid) == (7, 2)


def test_files_that_hold_arguments_are_private(home: Home) -> None:
    os.umask(os.umask(0))
    with reaper(home) as agent:
        end = agent.run(1, sh("echo output", _SECRET), scratch=True, contain=True)
        agent.wait_synced(end)
        paths = [path for path in home.base.rglob("*") if not path.is_socket()]
        for path in paths:
            assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
        text = b"".join(path.read_bytes() for path in paths if path.is_file())
    assert _SECRET.encode() not in text
    assert b"output" in text
