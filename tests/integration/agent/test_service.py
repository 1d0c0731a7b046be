"""Agent and reaper as processes, under a scripted master."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from mythjobs.config.state import StateDir
from mythjobs.protocol import messages as m
from mythjobs.protocol.codec import TRANSFER_WINDOW_BYTES
from tests.support.agent_master import find_reaper_pids, run_agent_process, run_master

pytestmark = pytest.mark.slow
HOSTILE = "$(touch /tmp/pwned); `id` \"' -rf\n🎬"


def test_job_runs_and_output_goes_to_master(state: StateDir) -> None:
    async def scenario() -> None:
        async with run_master(state) as master, run_agent_process(state):
            hello = await master.wait_connected()
            assert hello.boot_id == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
            script = 'printf %s "$MYTHJOBS_P_TITLE|$1|$MYTHJOBS_JOB.$MYTHJOBS_ATTEMPT|$PWD"; exit 3'
            env = {"MYTHJOBS_P_TITLE": HOSTILE}
            await master.grant(7, "/bin/sh", "-c", script, "sh", HOSTILE, n=2, env=env)
            ended = await master.receive(m.Ended)
            assert (ended.job, ended.n, ended.outcome) == (7, 2, {"kind": "exited", "code": 3})
            text = f"{HOSTILE}|{HOSTILE}|7.2|/".encode()
            assert ended.output == [(len(text), len(text), 0)]
            offer = await master.receive(m.OutputOffer)
            assert (offer.job, offer.n, offer.stream, offer.kept) == (7, 2, 1, len(text))

            # From the offset up to which the master has the output.
            await master.send(m.OutputFetch(1, 7, 2, 1, 5, kept=True))
            assert await master.receive(m.OutputEnd) == m.OutputEnd(1)
            assert master.transfer_bytes(1) == text[5:]
            await master.send(m.OutputKept(7, 2, 1))
            await master.send(m.OutputFetch(2, 7, 2, 1, 0))
            assert await master.receive(m.OutputEnd) == m.OutputEnd(2, "gone")
            # A thread deletes it.
            await master.wait_until(lambda: list(state.agent.output.iterdir()) == [])

    asyncio.run(scenario())


def test_output_is_limited_by_credit(state: StateDir) -> None:
    async def scenario() -> None:
        async with run_master(state) as master, run_agent_process(state):
            await master.wait_connected()
            script = "head -c 1000000 /dev/zero | tr '\\0' x; head -c 300000 /dev/zero"
            await master.grant(1, "/bin/sh", "-c", script, keep=(400_000, 500_000))
            await master.receive(m.OutputOffer)
            await master.fetch(1, 1, kept=True)
            await master.wait_until(lambda: len(master.transfer_bytes(1)) == TRANSFER_WINDOW_BYTES)
            # A transfer without credit delays no heartbeat and sends nothing more.
            await master.receive(m.Heartbeat)
            assert len(master.transfer_bytes(1)) == TRANSFER_WINDOW_BYTES
            await master.send(m.OutputCredit(1, 1))
            await master.wait_until(
                lambda: len(master.transfer_bytes(1)) == TRANSFER_WINDOW_BYTES + 1
            )
            await master.send(m.OutputCredit(1, 10**6))
            assert await master.receive(m.OutputEnd) == m.OutputEnd(1, "", 400_000)
            assert master.transfer_bytes(1) == b"x" * 600_000 + bytes(300_000)

            # By offsets of the stream: dropped bytes are a gap.
            await master.fetch(2, 1, offset=399_999)
            await master.send(m.OutputCredit(2, 10**6))
            await master.receive(m.OutputEnd, transfer=2)
            first, second, *_ = [each for each in master.chunks if each.transfer == 2]
            assert (first.offset, len(first.data), second.offset) == (399_999, 1, 800_000)

            # A stopped transfer sends neither chunks nor its end.
            await master.fetch(3, 1, kept=True)
            await master.send(m.OutputStop(3), m.OutputCredit(3, 10**6))
            await master.fetch(4, 1, kept=True, offset=899_000)
            assert await master.receive(m.OutputEnd) == m.OutputEnd(4, "", 400_000)
            assert len(master.transfer_bytes(3)) <= TRANSFER_WINDOW_BYTES

    asyncio.run(scenario())


def test_output_is_followed_while_job_runs(state: StateDir, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "go")

    async def scenario() -> None:
        async with run_master(state) as master, run_agent_process(state):
            await master.wait_connected()
            await master.grant(1, "/bin/sh", "-c", f"echo one; read _ <{tmp_path}/go; echo two")
            await master.receive(m.Started)
            await master.fetch(1, 1, follow=True)
            await master.wait_until(lambda: master.transfer_bytes(1) == b"one\n")
            # A transfer without follow ends at the current size.
            await master.fetch(2, 1)
            assert await master.receive(m.OutputEnd) == m.OutputEnd(2)
            assert master.transfer_bytes(2) == b"one\n"
            await master.fetch(3, 1, kept=True)
            assert (await master.receive(m.OutputEnd)).error == "the attempt has not ended"
            await asyncio.to_thread((tmp_path / "go").write_text, "\n")
            assert await master.receive(m.OutputEnd) == m.OutputEnd(1)
            assert master.transfer_bytes(1) == b"one\ntwo\n"

    asyncio.run(scenario())


def test_progress_is_read_from_output_and_status_fifo(state: StateDir, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "go")

    async def scenario() -> None:
        async with run_master(state) as master, run_agent_process(state):
            await master.wait_connected()
            script = f"printf 'at 10%%\\r'; read _ <{tmp_path}/go; printf 'at 99.5%%\\n'"
            await master.grant(1, "/bin/sh", "-c", script, progress="percent")
            assert (await master.receive(m.Progress)).percent == 10.0
            await asyncio.to_thread((tmp_path / "go").write_text, "\n")
            # Includes output between the last scan and the end.
            assert (await master.receive(m.Progress)).percent == 99.5
            await master.receive(m.Ended)
            say = 'printf "progress 42.5\\ncomment two\\neta 9\\n" >"$MYTHJOBS_STATUS"'
            await master.grant(2, "/bin/sh", "-c", say, progress="status")
            progress = await master.receive(m.Progress)
            assert (progress.percent, progress.comment) == (42.5, "two")
            assert progress.eta_s is not None
            assert 0 <= progress.eta_s <= 9

    asyncio.run(scenario())


def test_a_killed_agent_loses_no_job_and_no_end(state: StateDir, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "go")
    script = f"printf 'at 7%%\\r'; read _ <{tmp_path}/go; printf 'at 80%%\\n'; exit 5"

    async def scenario() -> None:
        async with run_master(state) as master:
            async with run_agent_process(state) as agent:
                await master.wait_connected()
                await master.grant(1, "/bin/sh", "-c", script, progress="percent")
                await master.receive(m.Progress, percent=7.0)
                await master.grant(2, "/bin/sh", "-c", "echo; exit 6")
                await master.receive(m.Ended, job=2)
                agent.signal(signal.SIGKILL)
                await agent.wait()
            master.received.clear()
            pids = find_reaper_pids(state)
            async with run_agent_process(state):
                hello = await master.wait_connected()
                assert len(hello.incarnation) == 32
                heartbeat = await master.receive(m.Heartbeat)
                held = {(each.job, each.state) for each in heartbeat.held}
                assert held in ({(1, "running"), (2, "ended")}, {(1, "running"), (2, "running")})
                assert (await master.receive(m.Ended, job=2)).outcome["code"] == 6
                await asyncio.to_thread((tmp_path / "go").write_text, "\n")
                # Progress continues, and the output is complete.
                await master.receive(m.Progress, percent=80.0)
                assert (await master.receive(m.Ended, job=1)).outcome["code"] == 5
                await master.fetch(1, 1)
                await master.receive(m.OutputEnd)
                assert master.transfer_bytes(1) == b"at 7%\rat 80%\n"
                assert find_reaper_pids(state) == pids

    asyncio.run(scenario())


def test_a_killed_reaper_loses_its_jobs_and_is_replaced(state: StateDir, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    script = f"echo begun; sleep 600 & exec sleep 600 >{tmp_path}/fifo"

    async def scenario() -> None:
        async with run_master(state) as master, run_agent_process(state):
            await master.wait_connected()
            await master.grant(1, "/bin/sh", "-c", script)
            # Opening the FIFO waits until the job has opened it.
            fifo = await asyncio.to_thread((tmp_path / "fifo").open, "rb")
            await master.fetch(9, 1, follow=True)
            await master.wait_until(lambda: master.transfer_bytes(9) == b"begun\n")
            [pid] = find_reaper_pids(state)
            os.kill(pid, signal.SIGKILL)
            ended = await master.receive(m.Ended)
            # End of file: no process has the FIFO open.
            assert await asyncio.to_thread(fifo.read) == b""
            fifo.close()
            assert ended.outcome == {"kind": "lost", "why": "the reaper died"}
            assert "none found" in ended.proof
            assert ended.output == [(6, 6, 0)]
            assert await master.receive(m.OutputEnd) == m.OutputEnd(9)
            await master.fetch(1, 1, kept=True)
            await master.receive(m.OutputEnd)
            assert master.transfer_bytes(1) == b"begun\n"
            await master.send(m.OutputKept(1, 1, 1))

            await master.grant(2, "/bin/true")
            assert (await master.receive(m.Ended)).outcome == {"kind": "exited", "code": 0}
            [other] = find_reaper_pids(state)
            assert other != pid
            assert len(list(state.agent.reapers.iterdir())) == 1

    asyncio.run(scenario())


def test_a_kill_of_reaper_and_agent_loses_no_end_that_was_durable(state: StateDir) -> None:
    async def scenario() -> None:
        async with run_master(state) as master:
            async with run_agent_process(state) as agent:
                await master.wait_connected()
                # The output is not collected, so the end is not forgotten.
                await master.grant(1, "/bin/sh", "-c", "echo; exit 4")
                await master.grant(2, "sleep", "600")
                await master.receive(m.Ended, job=1)
                await master.receive(m.Started, job=2)
                [pid] = find_reaper_pids(state)
                agent.signal(signal.SIGKILL)
                os.kill(pid, signal.SIGKILL)
                await agent.wait()
            master.received.clear()
            async with run_agent_process(state):
                await master.wait_connected()
                assert (await master.receive(m.Ended, job=1)).outcome == {
                    "kind": "exited",
                    "code": 4,
                }
                assert (await master.receive(m.Ended, job=2)).outcome["kind"] == "lost"

    asyncio.run(scenario())


def test_after_reboot_all_attempts_are_lost_and_no_process_is_killed(state: StateDir) -> None:
    """After a reboot, pids in the journals belong to other processes, here to this test."""
    state.agent.root.mkdir()
    state.agent.create()
    state.agent.journal.write_text('{"boot":"before","grant":[[1,1],[2,1],[3,1]]}\n')
    dead = state.agent.reapers / "0-old"
    dead.mkdir()
    (dead / "journal").write_text(
        '{"reaper":{"boot_id":"before","pid":1}}\n{"start":[1,1]}\n'
        f'{{"pid":[1,1,{os.getpid()},0,99999999999,5]}}\n'
        '{"end":{"seq":1,"job":2,"n":1,"outcome":{"kind":"exited","code":0},"usage":{},'
        '"started_ms":1,"ended_ms":2,"output":[]}}\n{"start":[4,'
    )

    async def scenario() -> None:
        async with run_master(state) as master, run_agent_process(state):
            await master.wait_connected()
            outcomes = {}
            for job in (1, 2, 3):
                outcomes[job] = (await master.receive(m.Ended, job=job)).outcome
            lost = {"kind": "lost", "why": "the machine restarted"}
            assert outcomes == {1: lost, 2: {"kind": "exited", "code": 0}, 3: lost}
            await master.grant(9, "/bin/true")
            await master.receive(m.Ended, job=9)
            assert not dead.exists()

    asyncio.run(scenario())


def test_job_that_cannot_start_is_reported(state: StateDir) -> None:
    async def scenario() -> None:
        async with run_master(state) as master, run_agent_process(state):
            await master.wait_connected()
            await master.grant(1, "/no/such/program")
            ended = await master.receive(m.Ended)
            assert ended.outcome["kind"] == "not_started"
            assert ended.started_ms is None

    asyncio.run(scenario())
