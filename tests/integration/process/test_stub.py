"""Compiled and interpreted stub: settings applied in the child before its program runs."""

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
from mythjobs.process.spawn.program import NO_SETUP, ChildSetup, User, parse_io_class

_PATH = "/usr/local/bin:/usr/bin:/bin"
_NOBODY = 65534


class Done(NamedTuple):
    code: int
    out: bytes
    report: bytes


@pytest.fixture(params=["compiled", "interpreted"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    name = str(request.param)
    if name == "compiled" and not os.access(stub.compiled_stub()[0], os.X_OK):
        pytest.skip("the stub is not compiled here")
    monkeypatch.setattr(stub, "find_stub", getattr(stub, f"{name}_stub"))
    return name


def stub_env(env: Sequence[bytes]) -> dict[bytes, bytes]:
    pairs = [each.partition(b"=") for each in stub.stub_environment(env)]
    return {name: value for name, _, value in pairs}


def run(
    argv: Sequence[str | bytes],
    setup: ChildSetup = NO_SETUP,
    search: str = _PATH,
    executable: bytes = b"",
) -> Done:
    """Return exit code, output, and the stub's report."""
    ours, theirs = os.pipe()
    env = [b"A=1", b"B=\xff"]
    words = [os.fsencode(each) for each in argv]
    command = stub.stub_argv(theirs, setup, search, words, executable)
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, pass_fds=[theirs], env=stub_env(env)
    ) as child:
        os.close(theirs)
        with open(ours, "rb") as pipe:
            report = pipe.read()
        out, _ = child.communicate()
    return Done(child.returncode, out, report)


def test_arguments_and_environment_arrive_unchanged(kind: str) -> None:
    odd = b"$(touch x) `id` \" ' -rf \n \xff \xe2\x82\xac"
    done = run(["sh", "-c", 'printf %s "$1"; tr "\\0" "|" </proc/$$/environ', "sh", odd])
    assert done == Done(0, odd + b"A=1|B=\xff|", b".")


def test_the_program_may_have_an_empty_name(kind: str) -> None:
    text = 'echo "$A"; tr "\\0" "|" </proc/$$/cmdline'
    done = run(["", "-c", text, "name"], executable=b"sh")
    assert done == Done(0, b"1\n|-c|" + text.encode() + b"|name|", b".")
    done = run([""], executable=b"/none")
    assert stub.parse_report(done.report) == (errno.ENOENT, "exec")


def test_linker_variables_act_on_the_program_only(kind: str) -> None:
    ours, theirs = os.pipe()
    env = [b"LD_PRELOAD=/none.so", b"PYTHONVERBOSE=1"]
    command = stub.stub_argv(theirs, NO_SETUP, _PATH, [b"true"])
    done = subprocess.run(
        command, stderr=subprocess.PIPE, pass_fds=[theirs], env=stub_env(env), check=True
    )
    os.close(theirs)
    os.close(ours)
    # Reported once, by the program: the stub, which may be root, does not get the variable.
    assert done.stderr.count(b"/none.so") == 1
    assert done.stderr.count(b"\n") == 1


def test_exec_closes_the_report(kind: str) -> None:
    done = run(["sh", "-c", "ls /proc/$$/fd"])
    assert done.out.split() == [b"0", b"1", b"2"]
    assert done.report == b"."


def test_errors_of_exec_are_reported(kind: str, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("no program")
    reports = [
        stub.parse_report(run([name], search=str(tmp_path)).report)
        for name in ("/none", "none", str(plain), "plain", f"{plain}/below")
    ]
    assert reports == [
        (errno.ENOENT, "exec"),
        (errno.ENOENT, "exec"),
        (errno.EACCES, "exec"),
        (errno.EACCES, "exec"),
        (errno.ENOTDIR, "exec"),
    ]


def test_limits_and_priorities_hold_from_the_first_instruction(kind: str) -> None:
    setup = ChildSetup(
        rlimits={resource.RLIMIT_NOFILE: (100, 200), resource.RLIMIT_CORE: (0, -1)},
        nice=7,
        io="idle",
        umask=0o027,
    )
    text = "ulimit -Sn; ulimit -Hn; nice; umask; cat /proc/$$/limits | grep core"
    lines = run(["sh", "-c", text], setup).out.split(b"\n")
    assert lines[:4] == [b"100", b"200", b"7", b"0027"]
    assert lines[4].split()[4:6] == [b"0", b"unlimited"]


def test_signals_ignored_by_the_interpreter_are_restored(kind: str) -> None:
    out = run(["grep", "SigIgn", "/proc/self/status"]).out
    ours = subprocess.run(
        ["grep", "SigIgn", "/proc/self/status"], stdout=subprocess.PIPE, check=True
    ).stdout
    assert out == ours


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_change_of_user_is_irreversible(kind: str) -> None:
    setup = ChildSetup(user=User(_NOBODY, _NOBODY, (_NOBODY, 100)))
    lines = run(["grep", "-E", "^(Uid|Gid|Groups)", "/proc/self/status"], setup).out.split(b"\n")
    assert lines[0].split()[1:] == [b"65534"] * 4
    assert lines[1].split()[1:] == [b"65534"] * 4
    assert lines[2].split()[1:] == [b"100", b"65534"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_forbidden_change_of_user_runs_nothing(kind: str) -> None:
    if kind == "interpreted":
        pytest.skip("the interpreter may be in a directory that only root can read")
    again: list[str | bytes] = [
        *stub.find_stub(),
        "2",
        "u0:0:",
        "p/usr/bin",
        "--",
        "echo",
        "ran",
    ]
    done = run(again, ChildSetup(user=User(_NOBODY, _NOBODY)))
    assert (done.code, done.out) == (127, b"")


def test_a_missing_cgroup_fails_before_the_program_runs(kind: str, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    done = run(
        ["touch", str(mark)], ChildSetup(cgroup_files=(str(tmp_path / "cgroup.procs.none" / "x"),))
    )
    assert stub.parse_report(done.report) == (errno.ENOENT, "join")
    assert not mark.exists()


def test_an_invalid_io_class_is_rejected_with_the_valid_ones() -> None:
    for text in ("fast", "best-effort:8", "idle:x"):
        with pytest.raises(ValueError, match="must be idle, or best-effort:0"):
            parse_io_class(text)
    assert parse_io_class("best-effort") == (2, 4)
