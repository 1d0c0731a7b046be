"""MythSystem.start(): what the host program changes afterwards has no effect on the program.

The program is spawned by another thread after start() has returned. The tests make sure of that
by occupying all threads that spawn.
"""

from __future__ import annotations

import errno
import io
import os
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mythjobs.process import INHERIT, MERGED, NULL, Exited, MythSystem, NotStarted, Process
from mythjobs.process.library.thread import supervisor_thread
from mythjobs.process.spawn.pool import THREADS
from tests.integration.process.host_script import output_of, run_script

Release = Callable[[], None]


@pytest.fixture
def hold_spawners() -> Iterator[Release]:
    """Occupy the threads that spawn until the yielded function is called."""
    pool = supervisor_thread()._pool
    held = threading.Barrier(THREADS + 1)
    released = threading.Event()

    def occupy(spawn: object) -> None:
        held.wait()
        released.wait()

    for _ in range(THREADS):
        pool.submit(occupy)
    held.wait()
    yield released.set
    released.set()


def outcome_after(process: Process, release: Release) -> object:
    release()
    return process.wait()


def test_output_goes_to_the_file_that_the_descriptor_named_at_the_start(
    hold_spawners: Release, tmp_path: Path
) -> None:
    first, second = (os.open(tmp_path / name, os.O_RDWR | os.O_CREAT) for name in "ab")
    process = MythSystem(["echo", "text"], stdout=first).start()
    os.dup2(second, first)
    assert outcome_after(process, hold_spawners) == Exited(0)
    os.close(first)
    os.close(second)
    assert (tmp_path / "a").read_text() == "text\n"
    assert (tmp_path / "b").read_text() == ""


def test_descriptors_may_be_closed_after_the_start(hold_spawners: Release) -> None:
    (in_read, in_write), (out_read, out_write) = os.pipe(), os.pipe()
    process = MythSystem(["cat"], stdin=in_read, stdout=out_write, stderr=out_write).start()
    os.close(in_read)
    os.close(out_write)
    os.write(in_write, b"text")
    os.close(in_write)
    hold_spawners()
    with open(out_read, "rb") as file:
        assert file.read() == b"text"
    assert process.wait() == Exited(0)


def test_file_objects_may_be_closed_after_the_start(hold_spawners: Release, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"text")
    with (tmp_path / "in").open("rb") as source, (tmp_path / "out").open("wb") as target:
        process = MythSystem(["cat"], stdin=source, stdout=target).start()
    assert outcome_after(process, hold_spawners) == Exited(0)
    assert (tmp_path / "out").read_bytes() == b"text"


class Target(io.BytesIO):
    """A file that nothing but its object keeps open."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT)

    def fileno(self) -> int:
        return self._fd

    def __del__(self) -> None:
        os.close(self._fd)


def test_a_file_object_is_kept_open_until_the_start(tmp_path: Path) -> None:
    system = MythSystem(["echo", "text"], stdout=Target(tmp_path / "out"))
    assert system.run().outcome == Exited(0)
    assert (tmp_path / "out").read_bytes() == b"text\n"


def test_inherited_streams_are_those_of_the_start() -> None:
    script = """
import mythjobs.process.library.thread as thread
pool, released = thread.supervisor_thread()._pool, threading.Event()
for _ in range(8):
    pool.submit(lambda spawn: released.wait())
process = MythSystem.shell("echo out; echo err >&2", stdout=INHERIT, stderr=INHERIT).start()
null = os.open("/dev/null", os.O_WRONLY)
saved = os.dup(2)
os.dup2(null, 1)
os.dup2(null, 2)
released.set()
outcome = process.wait()
os.dup2(saved, 2)
assert outcome == Exited(0), outcome
"""
    done = run_script(script)
    assert (done.returncode, done.stdout, done.stderr) == (0, "out\n", "err\n")


@pytest.mark.parametrize("given", [None, "."])
def test_the_working_directory_is_that_of_the_start(given: str | None, tmp_path: Path) -> None:
    script = """
import mythjobs.process.library.thread as thread
os.mkdir("first"), os.mkdir("second")
os.chdir("first")
open("in", "w").write("text")
pool, released = thread.supervisor_thread()._pool, threading.Event()
for _ in range(8):
    pool.submit(lambda spawn: released.wait())
cwd = None if sys.argv[1] == "None" else sys.argv[1]
pwd = MythSystem(["pwd", "-P"], cwd=cwd).start()
cat = MythSystem(["cat"], cwd=cwd, stdin="in", stdout="out").start()
os.chdir("../second")
released.set()
print(os.path.basename(pwd.done().stdout.text().strip()))
assert cat.wait() == Exited(0), cat.outcome
print(open("../first/out").read())
"""
    script = f"os.chdir({str(tmp_path)!r})\n" + script
    assert output_of(script, str(given)) == "first\ntext\n"


def test_a_directory_may_be_renamed_after_the_start(hold_spawners: Release, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file").touch()
    process = MythSystem(["ls"], cwd=tmp_path / "a").start()
    (tmp_path / "a").rename(tmp_path / "b")
    assert outcome_after(process, hold_spawners) == Exited(0)
    assert process.done().stdout.text() == "file\n"


def test_umask_and_environment_are_those_of_the_start(tmp_path: Path) -> None:
    script = """
import mythjobs.process.library.thread as thread
pool, released = thread.supervisor_thread()._pool, threading.Event()
for _ in range(8):
    pool.submit(lambda spawn: released.wait())
os.environ["WORD"] = "first"
os.umask(0o027)
process = MythSystem.shell('echo "$WORD"; umask', stdout="new").start()
os.environ["WORD"] = "second"
os.umask(0o077)
released.set()
assert process.wait() == Exited(0)
print(open("new").read(), oct(os.stat("new").st_mode & 0o777), sep="")
"""
    text = output_of(f"os.chdir({str(tmp_path)!r})\n" + script)
    assert text == "first\n0027\n0o640\n"


def test_a_missing_directory_is_named_in_the_outcome(tmp_path: Path) -> None:
    outcome = MythSystem(["true"], cwd=tmp_path / "none").run().outcome
    assert isinstance(outcome, NotStarted)
    assert outcome.errno == errno.ENOENT
    assert f"working directory {tmp_path}/none" in outcome.sentence
    (tmp_path / "file").touch()
    outcome = MythSystem(["true"], cwd=tmp_path / "file").run().outcome
    assert isinstance(outcome, NotStarted)
    assert outcome.errno == errno.ENOTDIR


def test_an_unsearchable_working_directory_is_inherited(tmp_path: Path) -> None:
    # As with Popen: a program that does not need its directory runs.
    script = """
MythSystem(["true"]).run()
os.chdir(sys.argv[1])
os.setgroups([])
os.setresgid(65534, 65534, 65534)
os.setresuid(65534, 65534, 65534)
for more in {}, {"contain": True}:
    done = MythSystem(["/bin/echo", "fine"], **more).run()
    print(done.outcome, done.stdout.text(), end="")
print(MythSystem(["/bin/echo"], cwd=".").run().outcome)
print(MythSystem(["/bin/echo"], cwd=sys.argv[1]).run().outcome)
"""
    if os.geteuid() != 0:
        pytest.skip("only root can become a user who may not search the directory")
    closed = tmp_path / "closed"
    closed.mkdir()
    closed.chmod(0o700)
    *fine, dot, named = output_of(script, str(closed)).splitlines()
    assert fine == ["Exited(code=0) fine"] * 2
    assert dot.startswith("NotStarted(errno=13, sentence='working directory .: Permission denied")
    assert named.startswith("NotStarted(errno=13, sentence='working directory /")


def test_a_deleted_working_directory_is_inherited(tmp_path: Path) -> None:
    script = (
        "os.mkdir('x'); os.chdir('x'); os.rmdir('../x')\nprint(MythSystem(['true']).run().outcome)"
    )
    assert output_of(f"os.chdir({str(tmp_path)!r})\n" + script) == "Exited(code=0)\n"


def test_a_descriptor_that_is_not_open_is_named_in_the_outcome() -> None:
    closed = os.open(os.devnull, os.O_RDONLY)
    os.close(closed)
    for more, name in (
        ({"stdin": closed}, "stdin"),
        ({"stdout": closed}, "stdout"),
        ({"stderr": closed}, "stderr"),
    ):
        outcome = MythSystem(["true"], **more).run().outcome  # type: ignore[arg-type]
        assert isinstance(outcome, NotStarted)
        assert outcome.errno == errno.EBADF
        assert outcome.sentence == f"{name}: descriptor {closed} is not open"


def test_a_closed_file_object_is_misuse(tmp_path: Path) -> None:
    file = (tmp_path / "out").open("wb")
    file.close()
    with pytest.raises(ValueError, match="closed"):
        MythSystem(["true"], stdout=file).start()


def test_starts_leave_no_descriptor_open(tmp_path: Path) -> None:
    def count() -> int:
        return len(os.listdir("/proc/self/fd"))

    def run_all() -> None:
        kinds: tuple[dict[str, Any], ...] = (
            {"stdin": b"x" * 200_000, "cwd": tmp_path},
            {"stdin": tmp_path / "none"},
            {"stdout": tmp_path / "out", "stderr": MERGED},
            {"stdin": INHERIT, "stdout": NULL, "stderr": INHERIT},
            {"cwd": tmp_path / "none"},
            {"nice": 1},
        )
        for more in kinds:
            MythSystem(["true"], **more).run()
            assert isinstance(MythSystem(["/none"], **more).run().outcome, NotStarted)

    run_all()
    before = count()
    for _ in range(5):
        run_all()
    assert count() == before


def test_the_given_descriptor_keeps_its_flags() -> None:
    read_fd, write_fd = os.pipe()
    os.set_inheritable(write_fd, True)
    assert MythSystem(["true"], stdin=read_fd, stdout=write_fd).run().outcome == Exited(0)
    assert (os.get_inheritable(read_fd), os.get_inheritable(write_fd)) == (False, True)
    assert stat.S_ISFIFO(os.fstat(write_fd).st_mode)
    os.close(read_fd)
    os.close(write_fd)
