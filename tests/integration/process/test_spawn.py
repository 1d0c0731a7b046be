"""Both ways to spawn, the quick one and the public one, give the same answers."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from mythjobs.process.spawn.errors import CannotStart
from mythjobs.process.spawn.vfork import Spawn, Vfork, program, spawn_by_popen, spawners


@pytest.fixture(params=["vfork", "popen"])
def spawn(request: pytest.FixtureRequest) -> Iterator[Spawn]:
    if request.param == "popen":
        yield spawn_by_popen
        return
    vfork = Vfork()
    yield vfork.spawn
    vfork.close()


def run(spawn: Spawn, argv: list[str], cwd: str = "/", path: str = "/usr/bin:/bin") -> bytes:
    """What it wrote; raises CannotStart."""
    ours, theirs = os.pipe()
    null = os.open(os.devnull, os.O_RDONLY)
    try:
        pid = spawn(program(argv, {"PATH": path, "X": "\udcff"}, cwd, null, theirs, theirs))
    except BaseException:
        os.close(ours)
        raise
    finally:
        os.close(theirs)
        os.close(null)
    with open(ours, "rb") as file:
        said = file.read()
    assert os.waitpid(pid, 0)[1] == 0
    return said


def test_it_runs_in_a_session_of_its_own(spawn: Spawn) -> None:
    said = run(spawn, ["sh", "-c", 'echo $$ "$X" "$1"; ps -o sid= -p $$; pwd', "sh", "é"], "/usr")
    first, session, cwd = said.split(b"\n")[:3]
    pid, *texts = first.split(b" ")
    assert texts == [b"\xff", "é".encode()]
    assert session.strip() == pid
    assert cwd == b"/usr"


def test_refusals_are_the_kernels_own(spawn: Spawn, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("echo\n")
    cases = [
        (["/no/such"], "/", errno.ENOENT, "/no/such does not exist"),
        (["no-such"], "/", errno.ENOENT, "no program no-such in its PATH"),
        ([str(plain)], "/", errno.EACCES, "may not be executed"),
        (["true"], "/no/such", errno.ENOENT, "its working directory /no/such"),
        (["true"], str(plain), errno.ENOTDIR, "its working directory"),
        (["true", "x" * 131_072], "/", errno.E2BIG, "longer than the kernel takes"),
    ]
    for argv, cwd, number, part in cases:
        with pytest.raises(CannotStart, match=part) as refused:
            run(spawn, argv, cwd)
        assert refused.value.errno == number
    # One refusal leaves nothing behind that the next start could take for its own.
    assert run(spawn, ["echo", "fine"]) == b"fine\n"


def test_this_python_can_spawn_the_quick_way() -> None:
    assert spawners()() is not spawn_by_popen
