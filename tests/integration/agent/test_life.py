"""How an agent begins and ends: one a state directory, one master it trusts, signals."""

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
from mythjobs.config.runtime import runtime_dir
from mythjobs.config.state import StateDir
from mythjobs.protocol import messages as m
from tests.support.agent_master import a_master, an_agent, living_reapers

pytestmark = pytest.mark.slow


def test_another_master_than_ours_is_told_nothing(state: StateDir) -> None:
    async def story() -> None:
        async with a_master(state) as master, an_agent(state) as agent:
            ours, master.key = master.key, Ed25519PrivateKey.generate()
            await master.until(lambda: master.left_unanswered >= 2)
            assert master.hellos == []
            master.key = ours
            await master.connected()
            agent.signal(signal.SIGTERM)
            assert await agent.ended() == 0
            assert agent.log.count("cannot connect to the master: the master's key is not the one") == 1

    asyncio.run(story())


def test_a_second_agent_is_told_who_runs_here(state: StateDir) -> None:
    async def story() -> None:
        async with a_master(state) as master, an_agent(state):
            await master.connected()
            await master.grant(1, "/bin/true")
            await master.hear(m.Ended)
            async with an_agent(state) as second:
                assert await second.ended() == os.EX_TEMPFAIL
                assert "an agent runs already" in second.log

    asyncio.run(story())


def test_jobs_go_on_when_the_agent_ends(state: StateDir, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "go")

    async def story() -> None:
        async with a_master(state) as master:
            async with an_agent(state) as agent:
                await master.connected()
                await master.grant(1, "/bin/sh", "-c", f"read _ <{tmp_path}/go; exit 9")
                await master.hear(m.Started)
                agent.signal(signal.SIGTERM)
                assert await agent.ended() == 0
                [pid] = living_reapers(state)
                assert f"1 job keeps running under the reaper (pid {pid})" in agent.log
            # It ends while no agent is there.
            await asyncio.to_thread((tmp_path / "go").write_text, "\n")
            async with an_agent(state):
                assert (await master.hear(m.Ended)).outcome["code"] == 9

    asyncio.run(story())


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM])
def test_jobs_end_with_the_agent_if_it_is_told_so(
    state: StateDir, tmp_path: Path, number: signal.Signals
) -> None:
    os.mkfifo(tmp_path / "held")
    words = ["--stop-jobs"] if number is signal.SIGTERM else []

    async def story() -> None:
        async with a_master(state, jobs=1) as master, an_agent(state, *words) as agent:
            await master.connected()
            await master.grant(1, "/bin/sh", "-c", f"exec sleep 600 >{tmp_path}/held")
            await master.grant(2, "/bin/true")
            held = await asyncio.to_thread((tmp_path / "held").open, "rb")
            await master.hear(m.Started)
            agent.signal(number)
            assert (await master.hear(m.Ended)).outcome == {"kind": "stopped", "by": "shutdown"}
            assert (await master.hear(m.Returned)).job == 2
            assert await agent.ended() == 0
            assert await asyncio.to_thread(held.read) == b""
            held.close()
            assert living_reapers(state) == []
            assert list(state.agent.reapers.iterdir()) == []

    asyncio.run(story())


def test_a_lost_master_is_found_again_and_told_what_it_missed(
    state: StateDir, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "go")

    async def story() -> None:
        async with an_agent(state):
            async with a_master(state) as master:
                await master.connected()
                await master.grant(1, "/bin/sh", "-c", f"read _ <{tmp_path}/go")
                await master.hear(m.Started)
            await asyncio.to_thread((tmp_path / "go").write_text, "\n")
            async with a_master(state) as master:
                await master.connected()
                assert (await master.hear(m.Ended)).outcome == {"kind": "exited", "code": 0}

    asyncio.run(story())


def test_a_master_that_answers_no_heartbeat_is_left(state: StateDir) -> None:
    async def story() -> None:
        async with a_master(state) as master, an_agent(state):
            await master.connected()
            master.acknowledges = False
            await master.until(lambda: bool(master.hellos))
            master.acknowledges = True
            await master.hear(m.Heartbeat)

    asyncio.run(story())


def test_what_is_no_message_costs_the_connection_and_not_the_agent(state: StateDir) -> None:
    async def story() -> None:
        async with a_master(state) as master, an_agent(state):
            for nonsense in (b"{", b"[]", b'{"ack":0,"messages":[{"type":"grant"}]}', b"\xff\xfe"):
                await master.connected()
                assert master.connection is not None
                await master.connection.send(nonsense, text=nonsense[:1] != b"\xff")
            await master.connected()
            await master.hear(m.Heartbeat)
            await master.grant(1, "/bin/true")
            await master.hear(m.Ended)

    asyncio.run(story())


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


def test_an_older_reaper_keeps_its_jobs_and_gets_no_new_ones(
    state: StateDir, tmp_path: Path
) -> None:
    """An upgrade in the middle of a job: the old version's files are gone, too."""
    os.mkfifo(tmp_path / "go")
    old = shutil.copytree(Path(mythjobs.__file__).parent, tmp_path / "old" / "mythjobs")
    (old / "__init__.py").write_text('__version__ = "0.0.1"\n')
    state.agent.root.mkdir()
    state.agent.make()
    words = [str(state.agent.root), str(runtime_dir(state))]
    words += ["/bin/sh", "-c", f"read _ <{tmp_path}/go; exit 8"]
    environ = {**os.environ, "PYTHONPATH": str(old.parent)}
    subprocess.run([sys.executable, "-c", OLD_REAPER, *words], env=environ, check=True)
    shutil.rmtree(old)
    [pid] = living_reapers(state)

    async def story() -> None:
        async with a_master(state) as master, an_agent(state):
            await master.connected()
            assert (await master.hear(m.Heartbeat)).held == [m.Held(1, 1, "running")]
            await master.grant(2, "/bin/true")
            await master.hear(m.Ended, job=2)
            assert len(living_reapers(state)) == 2
            gone = os.pidfd_open(pid)
            await asyncio.to_thread((tmp_path / "go").write_text, "\n")
            assert (await master.hear(m.Ended, job=1)).outcome["code"] == 8
            # With its last job acknowledged it goes.
            await asyncio.to_thread(select.select, [gone], [], [], 20)
            os.close(gone)
            assert len(living_reapers(state)) == 1

    asyncio.run(story())
