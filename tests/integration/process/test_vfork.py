"""Vfork, subprocess.Popen and the spawner in C as ways to spawn: same results, same errors."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from mythjobs.process.spawn.errors import CannotStart
from mythjobs.process.spawn.program import make_program
from mythjobs.process.spawn.vfork import Spawn, Vfork, choose_spawn, spawn_by_popen
from tests.integration.process.test_native import spawn_pid


@pytest.fixture(params=["vfork", "popen", "native"])
def spawn(request: pytest.FixtureRequest) -> Iterator[Spawn]:
    if request.param != "vfork":
        yield spawn_by_popen if request.param == "popen" else spawn_pid
        return
    vfork = Vfork()
    yield vfork.spawn
    vfork.close()


def run(spawn: Spawn, argv: list[str], cwd: str = "/", path: str = "/usr/bin:/bin") -> bytes:
    """Return the program's output. Raises CannotStart."""
    ours, theirs = os.pipe()
    null = os.open(os.devnull, os.O_RDONLY)
    try:
        pid = spawn(make_program(argv, {"PATH": path, "X": "\udcff"}, cwd, null, theirs, theirs))
    except BaseException:
        os.close(ours)
        raise
    finally:
        os.close(theirs)
        os.close(null)
    with open(ours, "rb") as file:
        output = file.read()
    assert os.waitpid(pid, 0)[1] == 0
    return output


def test_the_child_leads_its_own_session(spawn: Spawn) -> None:
    output = run(spawn, ["sh", "-c", 'echo $$ "$X" "$1"; ps -o sid= -p $$; pwd', "sh", "é"], "/usr")
    first, session, cwd = output.split(b"\n")[:3]
    pid, *texts = first.split(b" ")
    assert texts == [b"\xff", "é".encode()]
    assert session.strip() == pid
    assert cwd == b"/usr"


def test_errors_are_the_kernels(spawn: Spawn, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("echo\n")
    cases = [
        (["/no/such"], "/", errno.ENOENT, "/no/such: no such file"),
        (["no-such"], "/", errno.ENOENT, "no-such: not found in PATH"),
        ([str(plain)], "/", errno.EACCES, "permission denied"),
        (["true"], "/no/such", errno.ENOENT, "working directory /no/such"),
        (["true"], str(plain), errno.ENOTDIR, "working directory"),
        (["true", "x" * 131_072], "/", errno.E2BIG, "exceed the kernel's size limit"),
    ]
    for argv, cwd, number, part in cases:
        with pytest.raises(CannotStart, match=part) as refused:
            run(spawn, argv, cwd)
        assert refused.value.errno == number
    # An error must not be taken for one of the next start.
    assert run(spawn, ["echo", "fine"]) == b"fine\n"


def test_this_python_supports_vfork() -> None:
    assert choose_spawn()() is not spawn_by_popen
