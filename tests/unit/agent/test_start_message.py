"""The reaper's `start` message: environment, directory and progress of a job."""

from __future__ import annotations

import json

import pytest

from mythjobs.agent.core.start_message import build_base_environment, build_start_message
from mythjobs.protocol import codec
from mythjobs.protocol import messages as m
from mythjobs.protocol.run_spec import RunSpec
from tests.support.agent_harness import make_run

BASE = {"PATH": "/bin", "HOME": "/root", "LANG": "C.UTF-8"}
HOSTILE = "$(touch /tmp/pwned); `id` \"' -rf\n\x01🎬\u2028{title}"


def test_base_environment_is_the_users_only() -> None:
    ours = {"TZ": "Europe/Berlin", "PATH": "/opt/bin", "SECRET": "x", "HOME": "/elsewhere"}
    assert build_base_environment(ours, user="mythtv", home="/home/mythtv", shell="") == {
        "PATH": "/opt/bin",
        "HOME": "/home/mythtv",
        "USER": "mythtv",
        "LOGNAME": "mythtv",
        "SHELL": "/bin/sh",
        "LANG": "C.UTF-8",
        "TZ": "Europe/Berlin",
    }
    with_programs = build_base_environment(
        ours, user="mythtv", home="/home/mythtv", shell="", programs="/opt/venv/bin"
    )
    assert with_programs["PATH"] == f"{ours['PATH']}:/opt/venv/bin"
    assert "TZ" not in build_base_environment({}, user="u", home="/", shell="/bin/zsh")


def test_command_extends_environment_but_cannot_change_job_number() -> None:
    run = make_run(env={"LANG": "de_DE.UTF-8", "MYTHJOBS_P_X": "1", "MYTHJOBS_JOB": "99"})
    assert build_start_message((7, 2), run, BASE)["env"] == {
        "PATH": "/bin",
        "HOME": "/root",
        "LANG": "de_DE.UTF-8",
        "MYTHJOBS_P_X": "1",
        "MYTHJOBS_JOB": "7",
        "MYTHJOBS_ATTEMPT": "2",
    }


def test_bare_environment_replaces_the_base() -> None:
    run = make_run(env={"A": "1"}, bare_env=True)
    env = build_start_message((7, 2), run, BASE)["env"]
    assert env == {"A": "1", "MYTHJOBS_JOB": "7", "MYTHJOBS_ATTEMPT": "2"}


@pytest.mark.parametrize(
    "given,cwd",
    [({}, "/"), ({"cwd": "/srv"}, "/srv"), ({"scratch": True}, ""),
     ({"scratch": True, "cwd": "/srv"}, "/srv")],
)  # fmt: skip
def test_working_directory(given: dict[str, object], cwd: str) -> None:
    assert build_start_message((1, 1), make_run(**given), BASE).get("cwd", "") == cwd


def test_hostile_text_is_passed_unchanged() -> None:
    run = RunSpec(["printf", HOSTILE], env={"MYTHJOBS_P_TITLE": HOSTILE})
    grant = m.Grant(1, 1, 1, 1, 0, run)
    [got] = codec.decode_master_frame(codec.encode(m.MasterFrame(0, [grant]))).messages
    assert isinstance(got, m.Grant)
    message = json.loads(json.dumps(build_start_message((1, 1), got.run, BASE)))
    assert message["argv"] == ["printf", HOSTILE]
    assert message["env"]["MYTHJOBS_P_TITLE"] == HOSTILE


@pytest.mark.parametrize(
    "progress,watch,status", [("", False, False), ("ffmpeg", True, True), ("status", False, True),
                              (r"regex:(\d+)%", True, True)]
)  # fmt: skip
def test_source_of_progress(progress: str, watch: bool, status: bool) -> None:
    message = build_start_message((1, 1), make_run(progress=progress), BASE)
    assert (message.get("watch", False), message.get("status", False)) == (watch, status)


def test_settings_with_their_defaults_are_left_out() -> None:
    plain = build_start_message((1, 2), RunSpec(["true"], keep=(1, 2)), {})
    assert plain == {
        "type": "start",
        "job": 1,
        "n": 2,
        "argv": ["true"],
        "env": {"MYTHJOBS_JOB": "1", "MYTHJOBS_ATTEMPT": "2"},
        "cwd": "/",
        "keep": (1, 2),
        "grace_s": 10.0,
        "nice": 0,
    }
    given: dict[str, object] = {
        "cwd": "/srv", "stdin": "in", "wall_s": 1.0, "grace_s": 2.0, "cpu_s": 3.0, "idle_s": 4.0,
        "memory_bytes": 5, "output_bytes": 6, "processes": 7, "nice": 8, "io": "idle",
        "contain": True, "best_effort": True, "leave_daemons": True, "scratch": True,
    }  # fmt: skip
    run = RunSpec(["true"], keep=(1, 2), separate_stderr=True, progress="ffmpeg", **given)  # type: ignore[arg-type]
    action = (5, "stop", "lease", 1.0)
    message = build_start_message((1, 2), run, {}, [action])
    more = {"streams": 2, "acts": [action], "watch": True, "status": True}
    assert message == plain | given | more
