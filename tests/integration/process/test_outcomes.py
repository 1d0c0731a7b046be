"""Outcomes of attempts as the reaper reports them, and reasons why an attempt did not start."""

from __future__ import annotations

import errno
import os
import signal
from pathlib import Path

import pytest

from tests.integration.process.reaper_agent import Agent, Home, sh


@pytest.mark.parametrize("code", [0, 1, 126, 127, 128, 142, 200, 255])
def test_every_exit_code_is_reported_as_such(agent: Agent, code: int) -> None:
    end = agent.run(100 + code, sh(f"exit {code}"))
    assert end["outcome"] == {"kind": "exited", "code": code}
    assert end["output"] == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGPIPE])
def test_a_foreign_signal_is_reported(agent: Agent, number: int) -> None:
    end = agent.run(400 + number, sh(f"ulimit -c 0; kill -{int(number)} $$"))
    assert end["outcome"] == {"kind": "signalled", "signal": number, "core": False}


def test_times_and_usage_are_reported(agent: Agent) -> None:
    agent.start(500, sh("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done"))
    started = agent.wait_for("started", 500)
    end = agent.wait_ended(500)
    assert end["started_ms"] == started["at_ms"] <= end["ended_ms"]
    assert end["usage"]["user_s"] > 0
    assert end["usage"]["peak_bytes"] > 100_000
    assert end["usage"]["exact"] is True


def test_usage_includes_children_that_were_waited_for(agent: Agent) -> None:
    busy = "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done"
    end = agent.run(501, sh(f"sh -c '{busy}'; exit 0"))
    assert end["usage"]["user_s"] > 0.01


def start_error(agent: Agent, job: int, argv: list[str], **more: object) -> tuple[int, str]:
    end = agent.run(job, argv, **more)
    assert end["outcome"]["kind"] == "not_started"
    assert end["started_ms"] is None
    return end["outcome"]["errno"], end["outcome"]["sentence"]


def test_a_program_is_searched_in_the_path_of_its_own_environment(agent: Agent) -> None:
    number, why = start_error(agent, 600, ["no-such-program"], env={"PATH": "/usr/bin:/bin"})
    assert (number, why) == (
        errno.ENOENT,
        "no-such-program: not found in PATH (/usr/bin:/bin)",
    )
    assert start_error(agent, 601, ["/no/such"]) == (errno.ENOENT, "/no/such: no such file")
    assert start_error(agent, 602, ["true"], env={"PATH": "/nowhere"})[0] == errno.ENOENT
    assert agent.run(603, ["true"])["outcome"] == {"kind": "exited", "code": 0}


def test_files_that_cannot_be_executed_are_reported(agent: Agent, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("echo\n")
    number, why = start_error(agent, 610, [str(plain)])
    assert number == errno.EACCES
    assert "permission denied" in why
    plain.chmod(0o755)
    number, why = start_error(agent, 611, [str(plain)])
    assert number == errno.ENOEXEC
    assert "no #! line" in why
    plain.write_text("#!/no/such/interpreter\n")
    number, why = start_error(agent, 612, [str(plain)])
    assert number == errno.ENOENT
    assert "interpreter" in why
    assert start_error(agent, 613, [str(tmp_path)])[0] == errno.EACCES
    assert start_error(agent, 614, [str(plain / "below")])[0] == errno.ENOTDIR


def test_too_long_arguments_are_reported(agent: Agent) -> None:
    # One argument may be 128 KiB long including its NUL (execve(2)).
    assert agent.run(620, ["true", "x" * 131_071])["outcome"] == {"kind": "exited", "code": 0}
    number, why = start_error(agent, 621, ["true", "x" * 131_072])
    assert number == errno.E2BIG
    assert "exceed the kernel's size limit" in why


def test_a_missing_directory_or_input_file_is_named(agent: Agent, tmp_path: Path) -> None:
    assert start_error(agent, 630, ["true"], cwd="/no/such") == (
        errno.ENOENT,
        "working directory /no/such: No such file or directory",
    )
    number, why = start_error(agent, 631, ["true"], stdin="/no/such")
    assert (number, why) == (errno.ENOENT, "input file /no/such: No such file or directory")


def test_text_that_cannot_be_passed_to_a_program_is_reported(agent: Agent) -> None:
    assert "NUL" in start_error(agent, 640, ["true", "a\0b"])[1]
    assert "cannot be encoded" in start_error(agent, 641, ["true", "\ud800"])[1]
    assert "empty" in start_error(agent, 642, [])[1]
    assert '"="' in start_error(agent, 643, ["true"], env={"A=B": "c"})[1]
    assert "internal error" in start_error(agent, 644, ["true", 7])[1]  # type: ignore[list-item]
    assert agent.run(645, ["true"])["outcome"] == {"kind": "exited", "code": 0}


HOSTILE = [
    "$(touch /tmp/pwned); `id` \"' -rf",
    "-rf",
    "*",
    "a\nb\r\tc",
    "",
    "\u2028 \U0001f4fa é",
    "\udcff\udc80 not UTF-8",
    "x" * 100_000,
]


def test_arguments_and_environment_arrive_byte_for_byte(agent: Agent, shared_home: Home) -> None:
    env = {f"V{i}": text for i, text in enumerate(HOSTILE)}
    program = r"""printf '%s\0' "$@"; cat /proc/self/environ"""
    end = agent.run(650, sh(program, *HOSTILE), env=env)
    assert end["outcome"] == {"kind": "exited", "code": 0}
    got = shared_home.read_output(end).split(b"\0")
    raw = [text.encode("utf-8", "surrogateescape") for text in HOSTILE]
    assert got[: len(raw)] == raw
    environ = set(got[len(raw) :])
    assert {b"V%d=%s" % (i, text) for i, text in enumerate(raw)} <= environ
    assert not any(each.startswith((b"MYTHJOBS_DIR", b"MYTHJOBS_STATUS")) for each in environ)


def test_a_job_has_its_own_session_and_default_signals_and_descriptors(
    agent: Agent, shared_home: Home
) -> None:
    end = agent.run(660, ["grep", "-E", "^(SigBlk|SigIgn)", "/proc/self/status"])
    lines = shared_home.read_output(end).decode().split()
    assert lines[:3] == ["SigBlk:", "0" * 16, "SigIgn:"]
    # 32 and 33 belong to the C library: programs inherit them, and can neither see nor set them.
    assert int(lines[3], 16) & ~(3 << 31) == 0
    # A start is reported only if the job does not end at once.
    gate = shared_home.base / "gate"
    os.mkfifo(gate)
    agent.start(661, sh(f"ls -l /proc/$$/fd; ps -o sid= -p $$; pwd; exec cat {gate}"))
    started = agent.wait_for("started", 661)
    os.close(os.open(gate, os.O_WRONLY))
    end = agent.wait_ended(661)
    lines = shared_home.read_output(end).decode().splitlines()
    fds = [line.split()[8:] for line in lines[1:-2]]
    assert [fd[0] for fd in fds] == ["0", "1", "2"]
    assert fds[0][2] == "/dev/null"
    assert started["pid"] == int(lines[-2])
    assert lines[-1] == "/"


def test_stdin_is_read_from_the_named_file(agent: Agent, shared_home: Home, tmp_path: Path) -> None:
    given = tmp_path / "given"
    given.write_bytes(b"\0\xff in")
    assert shared_home.read_output(agent.run(670, ["cat"], stdin=str(given))) == b"\0\xff in"


def test_a_relative_stdin_is_in_the_working_directory(
    agent: Agent, shared_home: Home, tmp_path: Path
) -> None:
    (tmp_path / "given").write_bytes(b"in")
    end = agent.run(671, ["cat"], stdin="given", cwd=str(tmp_path))
    assert shared_home.read_output(end) == b"in"
    end = agent.run(672, ["cat"], stdin=str(tmp_path / "given")[1:])
    assert shared_home.read_output(end) == b"in"
    number, why = start_error(agent, 673, ["cat"], stdin="none", cwd=str(tmp_path))
    assert (number, why) == (errno.ENOENT, f"input file {tmp_path}/none: No such file or directory")
