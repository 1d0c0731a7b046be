"""Scratch directory, status pipe, descriptor limit and umask of an attempt."""

from __future__ import annotations

import os
import resource
import shutil
import time
from pathlib import Path

from tests.integration.process.reaper_agent import Agent, Home, reaper, sh


def test_scratch_is_private_is_the_working_directory_and_is_removed(
    home: Home, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").touch()
    script = 'pwd; stat -c %a .; echo "$MYTHJOBS_DIR"; mkdir -p a/b; touch a/b/c; ln -s "$1" away'
    with reaper(home) as agent:
        end = agent.run(1, sh(script, str(outside)), scratch=True)
    path = home.scratch / "1.1"
    assert home.read_output(end).decode() == f"{path}\n700\n{path}\n"
    # A thread removes it after the end was reported; the reaper waits for that before it exits.
    assert not path.exists()
    assert (outside / "precious").exists()


def test_cwd_takes_precedence_over_scratch(agent: Agent, shared_home: Home) -> None:
    end = agent.run(2, sh('pwd; echo "$MYTHJOBS_DIR"'), scratch=True, cwd="/usr")
    assert shared_home.read_output(end).decode() == f"/usr\n{shared_home.scratch / '2.1'}\n"


def test_lines_in_the_status_pipe_are_reported(agent: Agent, shared_home: Home) -> None:
    script = (
        'echo progress 42.5 >>"$MYTHJOBS_STATUS"; printf "comment \\377 é\\n" >"$MYTHJOBS_STATUS"'
    )
    end = agent.run(3, sh(script), status=True)
    assert end["outcome"] == {"kind": "exited", "code": 0}
    lines = agent.wait_for("status", 3)["lines"]
    assert lines == ["progress 42.5", "comment \ufffd é"]
    # A thread removes the file.
    for _ in range(1000):
        if not os.path.lexists(shared_home.runtime / "3.1.status"):
            break
        time.sleep(0.01)
    assert not os.path.lexists(shared_home.runtime / "3.1.status")


def test_the_status_pipe_has_a_fallback_without_runtime_directory(home: Home) -> None:
    with reaper(home) as agent:
        shutil.rmtree(home.runtime)
        end = agent.run(1, sh('echo progress 1 >"$MYTHJOBS_STATUS"'), status=True)
        assert end["outcome"] == {"kind": "exited", "code": 0}
        assert agent.wait_for("status", 1)["lines"] == ["progress 1"]
    assert not os.listdir(home.scratch)


def test_removal_of_deep_scratch_directories_does_not_end_a_thread(home: Home) -> None:
    deep = ["python3", "-c", "import os\nfor _ in range(3000): os.mkdir('d'); os.chdir('d')"]
    with reaper(home) as agent:
        threads = os.listdir(f"/proc/{agent.hello['pid']}/task")
        for job in range(1, 4):
            agent.run(job, deep, scratch=True)
        assert os.listdir(f"/proc/{agent.hello['pid']}/task") == threads
    # The reaper exits only after its threads have done all their work.
    assert not os.listdir(home.scratch)


def test_status_is_reported_while_the_job_runs(agent: Agent) -> None:
    agent.start(4, sh('echo progress 1 >"$MYTHJOBS_STATUS"; sleep 600'), status=True)
    assert agent.wait_for("status", 4)["lines"] == ["progress 1"]
    agent.send({"type": "stop", "job": 4, "n": 1, "by": "user"})
    agent.wait_ended(4)


def test_frequent_status_lines_are_dropped_except_the_last_of_each_kind(agent: Agent) -> None:
    script = (
        '{ echo comment first pass; seq -f "progress %g" 1 20000; echo eta 7;'
        ' seq -f "other%g" 1 99; printf "comment second pass"; } >"$MYTHJOBS_STATUS"'
    )
    agent.run(5, sh(script), status=True)
    reports = [each for each in agent.received if each["type"] == "status" and each["job"] == 5]
    latest = {line.split()[0]: line for each in reports for line in each["lines"]}
    # The last line lacks its line break.
    assert reports[-1]["lines"][-1] == latest["comment"] == "comment second pass"
    assert all(len(each["lines"]) <= 64 for each in reports)
    assert len([line for each in reports for line in each["lines"]]) < 2000


def test_a_comment_is_not_lost_among_many_updates(agent: Agent) -> None:
    script = '{ echo comment pass 1; seq -f "progress %g" 1 3000; } >"$MYTHJOBS_STATUS"'
    agent.run(8, sh(script), status=True)
    reports = [each for each in agent.received if each["type"] == "status" and each["job"] == 8]
    lines = [line for each in reports for line in each["lines"]]
    assert "comment pass 1" in lines
    assert lines[-1] == "progress 3000"


def test_updates_that_follow_closely_do_not_wake_the_reaper_each_time(agent: Agent) -> None:
    # Each line is a write(2) of its own.
    script = (
        "import os\nfd = os.open(os.environ['MYTHJOBS_STATUS'], os.O_WRONLY)\n"
        "for each in range(50_001): os.write(fd, b'progress %f\\n' % (each / 1000))"
    )
    agent.run(9, ["python3", "-I", "-S", "-c", script], status=True)
    reports = [each for each in agent.received if each["type"] == "status" and each["job"] == 9]
    assert reports[-1]["lines"] == ["progress 50.000000"]
    assert len(reports) < 1000


def test_a_long_status_line_is_cut(agent: Agent) -> None:
    script = '{ head -c 500000 /dev/zero | tr "\\0" x; echo; echo end; } >"$MYTHJOBS_STATUS"'
    agent.run(6, sh(script), status=True)
    reports = [each for each in agent.received if each["type"] == "status" and each["job"] == 6]
    lines = [line for each in reports for line in each["lines"]]
    assert lines[-1] == "end"
    assert max(map(len, lines)) <= 4096


def test_a_job_has_the_descriptor_limit_of_the_starter(agent: Agent, shared_home: Home) -> None:
    end = agent.run(60, sh("ulimit -Sn"))
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert shared_home.read_output(end) == f"{soft}\n".encode()
    soft, hard = resource.prlimit(agent.hello["pid"], resource.RLIMIT_NOFILE)
    assert soft == hard


def test_a_job_has_the_umask_of_who_started_its_reaper(home: Home) -> None:
    before = os.umask(0o027)
    try:
        with reaper(home) as agent:
            for job, more in ((1, {}), (2, {"nice": 5})):
                end = agent.run(job, ["sh", "-c", "umask"], **more)
                assert home.read_output(end) == b"0027\n"
            agent.run(3, ["head", "-c", "5000", "/dev/zero"])
            assert (home.output / "3.1.1").stat().st_mode & 0o777 == 0o600
    finally:
        os.umask(before)
