"""Restart of a service of systemd that runs `mythjobs up`: its jobs go on."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import AbstractContextManager, suppress
from pathlib import Path

import pytest

import mythjobs
from tests.support.systemd_container import Container, boot

pytestmark = pytest.mark.slow

_STATE = "/tmp/state"
_SOURCES = str(Path(mythjobs.__file__).resolve().parents[1])
_UNIT = """
[Unit]
DefaultDependencies=no
[Service]
Type=exec
Environment=PYTHONPATH={sources} HOME=/tmp USER=root {more_environment}
ExecStart={python} -m mythjobs --state-dir {state} up
StandardOutput=file:/tmp/up.log
StandardError=file:/tmp/up.log
{more}
"""


def unit(more: str = "", more_environment: str = "") -> str:
    return _UNIT.format(
        python=sys.executable, sources=_SOURCES, state=_STATE, more=more,
        more_environment=more_environment,
    )  # fmt: skip


def command(container: Container, *argv: str) -> list[str]:
    environment = ["/usr/bin/env", f"PYTHONPATH={_SOURCES}", "HOME=/tmp", "USER=root"]
    return container.command(
        *environment, sys.executable, "-m", "mythjobs", "--state-dir", _STATE, *argv
    )


def restart_during_job(container: Container) -> str:
    """Restart the service while a job runs; return the job's /proc/PID/cgroup."""
    container.run("systemctl", "start", "mythjobs.service")
    for _ in range(100):
        status = subprocess.run(command(container, "status"), capture_output=True, check=False)
        if status.returncode == 0:
            break
        time.sleep(0.1)
    assert status.returncode == 0, (status, (container.tmp / "up.log").read_text())
    go = container.tmp / "go"
    os.mkfifo(go)
    text = "cat /proc/self/cgroup; read line </tmp/go; exit 5"
    run = subprocess.Popen(
        command(container, "run", "--", "/bin/sh", "-c", text),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        fifo = open_for_writing(go, run)
        first = container.run("systemctl", "show", "--property=MainPID", "mythjobs.service")
        container.run("systemctl", "restart", "mythjobs.service")
        assert container.run("systemctl", "show", "--property=MainPID", "mythjobs.service") != first
        os.write(fifo, b"\n")
        os.close(fifo)
        out, log = run.communicate(timeout=60)
        assert run.returncode == 5, (out, log, (container.tmp / "up.log").read_text())
        return out
    finally:
        run.kill()
        run.communicate()


def open_for_writing(fifo: Path, reader: subprocess.Popen[str]) -> int:
    """Open a FIFO once the job reads it."""
    for _ in range(600):
        assert reader.poll() is None, reader.communicate()
        with suppress(OSError):
            return os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
        time.sleep(0.1)
    raise AssertionError("the job did not start")


def boot_service(tmp_path: Path, text: str) -> AbstractContextManager[Container]:
    shown = {sys.base_prefix, sys.prefix, str(Path(__file__).resolve().parents[3])}
    return boot(tmp_path, {"mythjobs.service": text}, sorted(shown))


def test_jobs_survive_a_restart_in_a_scope_of_their_own(tmp_path: Path) -> None:
    # Seen: systemd killed the reaper and all jobs with the service (KillMode=control-group).
    with boot_service(tmp_path, unit()) as container:
        cgroup = restart_during_job(container)
        [scope] = [each for each in cgroup.split("/") if each.startswith("mythjobs-reaper-")]
        assert scope.endswith(".scope")
        assert scope in container.run("systemctl", "list-units", "--type=scope", "--plain")


def test_jobs_survive_a_restart_without_a_scope_as_documented(tmp_path: Path) -> None:
    text = unit("KillMode=process", "PATH=/nonexistent")
    with boot_service(tmp_path, text) as container:
        cgroup = restart_during_job(container)
        assert "mythjobs.service" in cgroup


def test_an_installed_agent_runs_and_starts_at_every_boot(tmp_path: Path) -> None:
    with boot_service(tmp_path, unit()) as container:
        # This systemd reads units from one directory only.
        container.run("mkdir", "-p", "/etc/systemd/system")
        container.run("mount", "--bind", "/tmp/units", "/etc/systemd/system")
        install = command(container, "--state-dir", "/tmp/second", "agent", "install-service")
        for _ in range(2):  # a second call replaces the unit
            done = subprocess.run(install, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            assert "starts at every boot" in done.stdout
        name = "mythjobs-agent.service"
        link = f"/etc/systemd/system/multi-user.target.wants/{name}"
        assert container.run("readlink", link).strip().endswith(name)
        shown = container.run("systemctl", "show", "--property=KillMode,User", name)
        assert set(shown.split()) == {"KillMode=process", "User=root"}
        key = container.tmp / "second" / "agent" / "agent.key"
        for _ in range(600):
            if key.exists():
                break
            time.sleep(0.1)
        assert key.exists()  # the agent has started
        assert container.run("systemctl", "is-active", name).strip() == "active"
