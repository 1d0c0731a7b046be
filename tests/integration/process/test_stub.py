"""The stub, compiled and interpreted: what it does to the child before its program runs."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from mythjobs.process.spawn import stub
from mythjobs.process.spawn.stub import PLAIN, User, Wishes

_PATH = "/usr/local/bin:/usr/bin:/bin"
_NOBODY = 65534


class Done(NamedTuple):
    code: int
    out: bytes
    said: bytes


@pytest.fixture(params=["compiled", "interpreted"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    name = str(request.param)
    if name == "compiled" and not os.access(stub.compiled()[0], os.X_OK):
        pytest.skip("the stub was not compiled here")
    monkeypatch.setattr(stub, "program", getattr(stub, name))
    return name


def run(argv: Sequence[str | bytes], wishes: Wishes = PLAIN, search: str = _PATH) -> Done:
    """Its exit code, its output, and what came through the report."""
    ours, theirs = os.pipe()
    env = [b"A=1", b"B=\xff"]
    command = stub.command(theirs, wishes, search, env, [os.fsencode(each) for each in argv])
    with subprocess.Popen(command, stdout=subprocess.PIPE, pass_fds=[theirs], env={}) as child:
        os.close(theirs)
        with open(ours, "rb") as report:
            said = report.read()
        out, _ = child.communicate()
    return Done(child.returncode, out, said)


def test_the_program_gets_its_arguments_and_environment_as_they_are(kind: str) -> None:
    odd = b"$(touch x) `id` \" ' -rf \n \xff \xe2\x82\xac"
    done = run(["sh", "-c", 'printf %s "$1"; tr "\\0" "|" </proc/$$/environ', "sh", odd])
    assert done == Done(0, odd + b"A=1|B=\xff|", b"")


def test_what_the_environment_tells_the_linker_is_for_the_program_only(kind: str) -> None:
    ours, theirs = os.pipe()
    env = [b"LD_PRELOAD=/none.so", b"PYTHONVERBOSE=1"]
    command = stub.command(theirs, PLAIN, _PATH, env, [b"true"])
    done = subprocess.run(command, stderr=subprocess.PIPE, pass_fds=[theirs], env={}, check=True)
    os.close(theirs)
    os.close(ours)
    # Once, by the program; the stub, which may still be root, has not even heard of it.
    assert done.stderr.count(b"/none.so") == 1
    assert done.stderr.count(b"\n") == 1


def test_the_report_is_closed_when_the_program_begins(kind: str) -> None:
    done = run(["sh", "-c", "ls /proc/$$/fd"])
    assert done.out.split() == [b"0", b"1", b"2"]
    assert done.said == b""


def test_what_the_kernel_says_to_exec_is_told(kind: str, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("no program")
    told = [
        stub.failure(run([name], search=str(tmp_path)).said)
        for name in ("/none", "none", str(plain), "plain", f"{plain}/below")
    ]
    assert told == [
        (errno.ENOENT, "exec"),
        (errno.ENOENT, "exec"),
        (errno.EACCES, "exec"),
        (errno.EACCES, "exec"),
        (errno.ENOTDIR, "exec"),
    ]


def test_limits_and_priorities_hold_from_the_first_instruction(kind: str) -> None:
    wishes = Wishes(
        rlimits={resource.RLIMIT_NOFILE: (100, 200), resource.RLIMIT_CORE: (0, -1)},
        nice=7,
        io="idle",
        umask=0o027,
    )
    text = "ulimit -Sn; ulimit -Hn; nice; umask; cat /proc/$$/limits | grep core"
    lines = run(["sh", "-c", text], wishes).out.split(b"\n")
    assert lines[:4] == [b"100", b"200", b"7", b"0027"]
    assert lines[4].split()[4:6] == [b"0", b"unlimited"]


def test_signals_that_an_interpreter_ignores_are_as_they_were(kind: str) -> None:
    out = run(["grep", "SigIgn", "/proc/self/status"]).out
    ours = subprocess.run(
        ["grep", "SigIgn", "/proc/self/status"], stdout=subprocess.PIPE, check=True
    ).stdout
    assert out == ours


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_child_that_became_another_user_cannot_come_back(kind: str) -> None:
    wishes = Wishes(user=User(_NOBODY, _NOBODY, (_NOBODY, 100)))
    lines = run(["grep", "-E", "^(Uid|Gid|Groups)", "/proc/self/status"], wishes).out.split(b"\n")
    assert lines[0].split()[1:] == [b"65534"] * 4
    assert lines[1].split()[1:] == [b"65534"] * 4
    assert lines[2].split()[1:] == [b"100", b"65534"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_who_may_not_become_another_user_does_not_run_at_all(kind: str) -> None:
    if kind == "interpreted":
        pytest.skip("the interpreter may be where only root can read")
    again: list[str | bytes] = [
        *stub.program(),
        "2",
        "u0:0:",
        "p/usr/bin",
        "--",
        "--",
        "echo",
        "ran",
    ]
    done = run(again, Wishes(user=User(_NOBODY, _NOBODY)))
    assert (done.code, done.out) == (127, b"")


def test_a_cgroup_that_is_not_there_ends_it_before_the_program(kind: str, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    done = run(["touch", str(mark)], Wishes(joins=(str(tmp_path / "cgroup.procs.none" / "x"),)))
    assert stub.failure(done.said) == (errno.ENOENT, "join")
    assert not mark.exists()


def test_an_io_class_that_does_not_exist_is_refused_with_what_is_right() -> None:
    for text in ("fast", "best-effort:8", "idle:x"):
        with pytest.raises(ValueError, match="must be idle, or best-effort:0"):
            stub.io_class(text)
    assert stub.io_class("best-effort") == (2, 4)
