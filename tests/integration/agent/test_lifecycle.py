"""Start and end of the agent: one per state directory, one trusted master, signals."""

from __future__ import annotations

import asyncio
import os
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import mythjobs
from mythjobs.config.runtime import ensure_runtime_dir
from mythjobs.config.state import StateDir
from mythjobs.protocol import messages as m
from mythjobs.web.server.local_agent import LocalAgent
from tests.support.agent_master import find_reaper_pids, run_agent_process, run_master

pytestmark = pytest.mark.slow


def test_agent_sends_nothing_to_untrusted_master(state: StateDir) -> None:
    async def scenario() -> None:
        async with run_master(state) as master, run_agent_process(state) as agent:
            ours, master.key = master.key, Ed25519PrivateKey.generate()
            await master.wait_until(lambda: master.unanswered_challenges >= 2)
            assert master.hellos == []
            master.key = ours
            await master.wait_connected()
            agent.signal(signal.SIGTERM)
            assert await agent.wait() == 0
            assert (
                agent.log.count("cannot connect to the master: the master's key is not the one")
                == 1
            )

    asyncio.run(scenario())


def test_second_agent_is_refused(state: StateDir) -> None:
    async def scenario() -> None:
        async with run_master(state) as master, run_agent_process(state):
            await master.wait_connected()
            await master.grant(1, "/bin/true")
            await master.receive(m.Ended)
            async with run_agent_process(state) as second:
                assert await second.wait() == os.EX_TEMPFAIL
                assert "an agent is already running" in second.log

    asyncio.run(scenario())


def test_jobs_keep_running_when_agent_ends(state: StateDir, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "go")

    async def scenario() -> None:
        async with run_master(state) as master:
            async with run_agent_process(state) as agent:
                await master.wait_connected()
                await master.grant(1, "/bin/sh", "-c", f"read _ <{tmp_path}/go; exit 9")
                await master.receive(m.Started)
                agent.signal(signal.SIGTERM)
                assert await agent.wait() == 0
                [pid] = find_reaper_pids(state)
                assert f"1 job keeps running under the reaper (pid {pid})" in agent.log
                # Seen: a user who had typed Ctrl-C read that the agent is reconnecting.
                assert "reconnecting" not in agent.log
            # The job ends while no agent is running.
            await asyncio.to_thread((tmp_path / "go").write_text, "\n")
            async with run_agent_process(state):
                assert (await master.receive(m.Ended)).outcome["code"] == 9

    asyncio.run(scenario())


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM])
def test_agent_stops_jobs_on_request(
    state: StateDir, tmp_path: Path, number: signal.Signals
) -> None:
    os.mkfifo(tmp_path / "fifo")
    options = ["--stop-jobs"] if number is signal.SIGTERM else []

    async def scenario() -> None:
        async with run_master(state, jobs=1) as master, run_agent_process(state, *options) as agent:
            await master.wait_connected()
            await master.grant(1, "/bin/sh", "-c", f"exec sleep 600 >{tmp_path}/fifo")
            await master.grant(2, "/bin/true")
            fifo = await asyncio.to_thread((tmp_path / "fifo").open, "rb")
            await master.receive(m.Started)
            agent.signal(number)
            assert (await master.receive(m.Ended)).outcome == {"kind": "stopped", "by": "shutdown"}
            assert (await master.receive(m.Returned)).job == 2
            assert await agent.wait() == 0
            assert await asyncio.to_thread(fifo.read) == b""
            fifo.close()
            assert find_reaper_pids(state) == []
            assert list(state.agent.reapers.iterdir()) == []

    asyncio.run(scenario())


def test_an_agent_that_is_still_starting_stops_the_jobs_that_it_finds(
    state: StateDir, tmp_path: Path
) -> None:
    # Observed: `mythjobs up --stop-jobs` was ended a second after its start. SIGUSR1 killed the
    # agent, whose interpreter was loading modules, and the jobs of the last `up` continued.
    os.mkfifo(tmp_path / "fifo")

    async def scenario() -> None:
        async with run_master(state, jobs=1) as master:
            async with run_agent_process(state) as agent:
                await master.wait_connected()
                await master.grant(1, "/bin/sh", "-c", f"exec sleep 600 >{tmp_path}/fifo")
                fifo = await asyncio.to_thread((tmp_path / "fifo").open, "rb")
                await master.receive(m.Started)
                agent.signal(signal.SIGTERM)
                assert await agent.wait() == 0
            local = LocalAgent(state)
            local.start()
            assert await local.stop(stop_jobs=True)
            assert find_reaper_pids(state) == []
            assert await asyncio.to_thread(fifo.read) == b""
            fifo.close()

    asyncio.run(scenario())


def test_agent_reconnects_and_reports_missed_ends(state: StateDir, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "go")

    async def scenario() -> None:
        async with run_agent_process(state):
            async with run_master(state) as master:
                await master.wait_connected()
                await master.grant(1, "/bin/sh", "-c", f"read _ <{tmp_path}/go")
                await master.receive(m.Started)
            await asyncio.to_thread((tmp_path / "go").write_text, "\n")
            async with run_master(state) as master:
                await master.wait_connected()
                assert (await master.receive(m.Ended)).outcome == {"kind": "exited", "code": 0}

    asyncio.run(scenario())


def test_agent_leaves_master_that_answers_no_heartbeats(state: StateDir) -> None:
    async def scenario() -> None:
        async with run_master(state) as master, run_agent_process(state):
            await master.wait_connected()
            master.acknowledges = False
            await master.wait_until(lambda: bool(master.hellos))
            master.acknowledges = True
            await master.receive(m.Heartbeat)

    asyncio.run(scenario())


def test_invalid_message_closes_connection_only(state: StateDir) -> None:
    async def scenario() -> None:
        async with run_master(state) as master, run_agent_process(state):
            for nonsense in (b"{", b"[]", b'{"ack":0,"messages":[{"type":"grant"}]}', b"\xff\xfe"):
                await master.wait_connected()
                assert master.connection is not None
                await master.connection.send(nonsense, text=nonsense[:1] != b"\xff")
            await master.wait_connected()
            await master.receive(m.Heartbeat)
            await master.grant(1, "/bin/true")
            await master.receive(m.Ended)

    asyncio.run(scenario())


OLD_REAPER = """
import socket, sys
from pathlib import Path
from mythjobs.process.reaper.launch import find_socket_path, launch_reaper
from mythjobs.process.reaper.messages import encode_line

agent, runtime, argv = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]
directory = agent / "reapers" / "0.0.1-old"
launch_reaper(directory, output=agent / "output", scratch=agent / "scratch", runtime=runtime)
with socket.socket(socket.AF_UNIX) as reaper:
    reaper.connect(str(find_socket_path(directory)))
    start = {"type": "start", "job": 1, "n": 1, "argv": argv, "env": {"PATH": "/bin"}}
    reaper.sendall(encode_line([{**start, "keep": [9, 9]}]))
    lines = reaper.makefile("rb")
    assert b'"hello"' in next(lines) and b'"started"' in next(lines)
"""


def test_older_reaper_keeps_jobs_and_gets_no_new_ones(state: StateDir, tmp_path: Path) -> None:
    """Upgrade while a job runs; the old version's files are deleted, too."""
    os.mkfifo(tmp_path / "go")
    old = shutil.copytree(Path(mythjobs.__file__).parent, tmp_path / "old" / "mythjobs")
    (old / "__init__.py").write_text('__version__ = "0.0.1"\n')
    state.agent.root.mkdir()
    state.agent.create()
    options = [str(state.agent.root), str(ensure_runtime_dir(state))]
    options += ["/bin/sh", "-c", f"read _ <{tmp_path}/go; exit 8"]
    environ = {**os.environ, "PYTHONPATH": str(old.parent)}
    subprocess.run([sys.executable, "-c", OLD_REAPER, *options], env=environ, check=True)
    shutil.rmtree(old)
    [pid] = find_reaper_pids(state)

    async def scenario() -> None:
        async with run_master(state) as master, run_agent_process(state):
            await master.wait_connected()
            assert (await master.receive(m.Heartbeat)).held == [m.HeldAttempt(1, 1, "running")]
            await master.grant(2, "/bin/true")
            await master.receive(m.Ended, job=2)
            assert len(find_reaper_pids(state)) == 2
            reaper = os.pidfd_open(pid)
            await asyncio.to_thread((tmp_path / "go").write_text, "\n")
            assert (await master.receive(m.Ended, job=1)).outcome["code"] == 8
            # The reaper exits once its last end is acknowledged.
            await asyncio.to_thread(select.select, [reaper], [], [], 60)
            os.close(reaper)
            assert len(find_reaper_pids(state)) == 1

    asyncio.run(scenario())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_an_agent_that_ends_in_good_order_closes_its_connection(
    state: StateDir, number: signal.Signals
) -> None:
    """The master tells a machine that leaves from one that is lost by this."""

    async def scenario() -> None:
        async with run_master(state) as master, run_agent_process(state) as agent:
            await master.wait_connected()
            await master.receive(m.Heartbeat)
            connection = master.connection
            assert connection is not None
            agent.signal(number)
            await agent.wait()
            async with asyncio.timeout(60):
                await connection.wait_closed()
            assert connection.close_code == (1001 if number is signal.SIGTERM else 1006)

    asyncio.run(scenario())
