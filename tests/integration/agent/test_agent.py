"""Agent and reaper as processes, under a master that the test scripts."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from mythjobs.config.state import StateDir
from mythjobs.protocol import messages as m
from mythjobs.protocol.codec import CREDIT_BYTES
from tests.support.agent_master import a_master, an_agent, living_reapers

pytestmark = pytest.mark.slow
HOSTILE = "$(touch /tmp/pwned); `id` \"' -rf\n🎬"


def test_a_job_runs_and_its_output_goes_to_the_master(state: StateDir) -> None:
    async def story() -> None:
        async with a_master(state) as master, an_agent(state):
            hello = await master.connected()
            assert hello.boot_id == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
            script = 'printf %s "$MYTHJOBS_P_TITLE|$1|$MYTHJOBS_JOB.$MYTHJOBS_ATTEMPT|$PWD"; exit 3'
            env = {"MYTHJOBS_P_TITLE": HOSTILE}
            await master.grant(7, "/bin/sh", "-c", script, "sh", HOSTILE, n=2, env=env)
            ended = await master.hear(m.Ended)
            assert (ended.job, ended.n, ended.outcome) == (7, 2, {"kind": "exited", "code": 3})
            said = f"{HOSTILE}|{HOSTILE}|7.2|/".encode()
            assert ended.output == [(len(said), len(said), 0)]
            offer = await master.hear(m.OutputOffer)
            assert (offer.job, offer.n, offer.stream, offer.kept) == (7, 2, 1, len(said))

            # From the offset that the master has already.
            await master.send(m.OutputFetch(1, 7, 2, 1, 5, kept=True))
            assert await master.hear(m.OutputEnd) == m.OutputEnd(1)
            assert master.bytes_of(1) == said[5:]
            await master.send(m.OutputKept(7, 2, 1))
            await master.send(m.OutputFetch(2, 7, 2, 1, 0))
            assert await master.hear(m.OutputEnd) == m.OutputEnd(2, "gone")
            assert list(state.agent.output.iterdir()) == []

    asyncio.run(story())


def test_output_comes_no_faster_than_it_is_credited(state: StateDir) -> None:
    async def story() -> None:
        async with a_master(state) as master, an_agent(state):
            await master.connected()
            script = "head -c 1000000 /dev/zero | tr '\\0' x; head -c 300000 /dev/zero"
            await master.grant(1, "/bin/sh", "-c", script, keep=(400_000, 500_000))
            await master.hear(m.OutputOffer)
            await master.fetch(1, 1, kept=True)
            await master.until(lambda: len(master.bytes_of(1)) == CREDIT_BYTES)
            # A heartbeat is not held up by it, and nothing came beside it.
            await master.hear(m.Heartbeat)
            assert len(master.bytes_of(1)) == CREDIT_BYTES
            await master.send(m.OutputCredit(1, 1))
            await master.until(lambda: len(master.bytes_of(1)) == CREDIT_BYTES + 1)
            await master.send(m.OutputCredit(1, 10**6))
            assert await master.hear(m.OutputEnd) == m.OutputEnd(1, "", 400_000)
            assert master.bytes_of(1) == b"x" * 600_000 + bytes(300_000)

            # By the stream's own offsets: what was dropped is a gap.
            await master.fetch(2, 1, offset=399_999)
            await master.send(m.OutputCredit(2, 10**6))
            await master.hear(m.OutputEnd, transfer=2)
            first, second, *_ = [each for each in master.chunks if each.transfer == 2]
            assert (first.offset, len(first.data), second.offset) == (399_999, 1, 800_000)

            # One that is given up sends no more, and does not end either.
            await master.fetch(3, 1, kept=True)
            await master.send(m.OutputStop(3), m.OutputCredit(3, 10**6))
            await master.fetch(4, 1, kept=True, offset=899_000)
            assert await master.hear(m.OutputEnd) == m.OutputEnd(4, "", 400_000)
            assert len(master.bytes_of(3)) <= CREDIT_BYTES

    asyncio.run(story())


def test_output_is_followed_while_the_job_runs(state: StateDir, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "go")

    async def story() -> None:
        async with a_master(state) as master, an_agent(state):
            await master.connected()
            await master.grant(1, "/bin/sh", "-c", f"echo one; read _ <{tmp_path}/go; echo two")
            await master.hear(m.Started)
            await master.fetch(1, 1, follow=True)
            await master.until(lambda: master.bytes_of(1) == b"one\n")
            # What is not followed ends with what is there now.
            await master.fetch(2, 1)
            assert await master.hear(m.OutputEnd) == m.OutputEnd(2)
            assert master.bytes_of(2) == b"one\n"
            await master.fetch(3, 1, kept=True)
            assert (await master.hear(m.OutputEnd)).error == "the attempt has not ended"
            await asyncio.to_thread((tmp_path / "go").write_text, "\n")
            assert await master.hear(m.OutputEnd) == m.OutputEnd(1)
            assert master.bytes_of(1) == b"one\ntwo\n"

    asyncio.run(story())


def test_progress_is_read_from_output_and_from_the_status_pipe(
    state: StateDir, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "go")

    async def story() -> None:
        async with a_master(state) as master, an_agent(state):
            await master.connected()
            script = f"printf 'at 10%%\\r'; read _ <{tmp_path}/go; printf 'at 99.5%%\\n'"
            await master.grant(1, "/bin/sh", "-c", script, progress="percent")
            assert (await master.hear(m.Progress)).percent == 10.0
            await asyncio.to_thread((tmp_path / "go").write_text, "\n")
            # Also what came between the last look and the end.
            assert (await master.hear(m.Progress)).percent == 99.5
            await master.hear(m.Ended)
            say = 'printf "progress 42.5\\ncomment two\\neta 9\\n" >"$MYTHJOBS_STATUS"'
            await master.grant(2, "/bin/sh", "-c", say, progress="status")
            progress = await master.hear(m.Progress)
            assert (progress.percent, progress.comment, progress.eta_s) == (42.5, "two", 9.0)

    asyncio.run(story())


def test_a_killed_agent_disturbs_no_job_and_forgets_no_end(state: StateDir, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "go")
    script = f"printf 'at 7%%\\r'; read _ <{tmp_path}/go; printf 'at 80%%\\n'; exit 5"

    async def story() -> None:
        async with a_master(state) as master:
            async with an_agent(state) as agent:
                await master.connected()
                await master.grant(1, "/bin/sh", "-c", script, progress="percent")
                await master.hear(m.Progress, percent=7.0)
                await master.grant(2, "/bin/sh", "-c", "echo; exit 6")
                await master.hear(m.Ended, job=2)
                agent.signal(signal.SIGKILL)
                await agent.ended()
            master.heard.clear()
            pids = living_reapers(state)
            async with an_agent(state):
                hello = await master.connected()
                assert len(hello.incarnation) == 32
                heartbeat = await master.hear(m.Heartbeat)
                held = {(each.job, each.state) for each in heartbeat.held}
                assert held in ({(1, "running"), (2, "ended")}, {(1, "running"), (2, "running")})
                assert (await master.hear(m.Ended, job=2)).outcome["code"] == 6
                await asyncio.to_thread((tmp_path / "go").write_text, "\n")
                # Its progress is read on, and its output is whole.
                await master.hear(m.Progress, percent=80.0)
                assert (await master.hear(m.Ended, job=1)).outcome["code"] == 5
                await master.fetch(1, 1)
                await master.hear(m.OutputEnd)
                assert master.bytes_of(1) == b"at 7%\rat 80%\n"
                assert living_reapers(state) == pids

    asyncio.run(story())


def test_a_killed_reaper_loses_its_jobs_and_another_takes_over(
    state: StateDir, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "held")
    script = f"echo begun; sleep 600 & exec sleep 600 >{tmp_path}/held"

    async def story() -> None:
        async with a_master(state) as master, an_agent(state):
            await master.connected()
            await master.grant(1, "/bin/sh", "-c", script)
            # That both have it open is what opening it waits for.
            held = await asyncio.to_thread((tmp_path / "held").open, "rb")
            await master.fetch(9, 1, follow=True)
            await master.until(lambda: master.bytes_of(9) == b"begun\n")
            [pid] = living_reapers(state)
            os.kill(pid, signal.SIGKILL)
            ended = await master.hear(m.Ended)
            # End of file: nobody has it any more.
            assert await asyncio.to_thread(held.read) == b""
            held.close()
            assert ended.outcome == {"kind": "lost", "why": "the reaper died"}
            assert "none found" in ended.proof
            assert ended.output == [(6, 6, 0)]
            assert await master.hear(m.OutputEnd) == m.OutputEnd(9)
            await master.fetch(1, 1, kept=True)
            await master.hear(m.OutputEnd)
            assert master.bytes_of(1) == b"begun\n"
            await master.send(m.OutputKept(1, 1, 1))

            await master.grant(2, "/bin/true")
            assert (await master.hear(m.Ended)).outcome == {"kind": "exited", "code": 0}
            [other] = living_reapers(state)
            assert other != pid
            assert len(list(state.agent.reapers.iterdir())) == 1

    asyncio.run(story())


def test_reaper_and_agent_killed_together_are_made_up_for(state: StateDir) -> None:
    async def story() -> None:
        async with a_master(state) as master:
            async with an_agent(state) as agent:
                await master.connected()
                # Its output is not taken over, so it is not forgotten.
                await master.grant(1, "/bin/sh", "-c", "echo; exit 4")
                await master.grant(2, "sleep", "600")
                await master.hear(m.Ended, job=1)
                await master.hear(m.Started, job=2)
                [pid] = living_reapers(state)
                agent.signal(signal.SIGKILL)
                os.kill(pid, signal.SIGKILL)
                await agent.ended()
            master.heard.clear()
            async with an_agent(state):
                await master.connected()
                assert (await master.hear(m.Ended, job=1)).outcome == {"kind": "exited", "code": 4}
                assert (await master.hear(m.Ended, job=2)).outcome["kind"] == "lost"

    asyncio.run(story())


def test_after_another_boot_everything_is_lost_and_nothing_is_killed(state: StateDir) -> None:
    """The pids in the journals are strangers' then. This one's happens to be ours."""
    state.agent.root.mkdir()
    state.agent.make()
    state.agent.journal.write_text('{"boot":"before","grant":[[1,1],[2,1],[3,1]]}\n')
    dead = state.agent.reapers / "0-old"
    dead.mkdir()
    (dead / "journal").write_text(
        '{"reaper":{"boot_id":"before","pid":1}}\n{"start":[1,1]}\n'
        f'{{"pid":[1,1,{os.getpid()},0,99999999999,5]}}\n'
        '{"end":{"seq":1,"job":2,"n":1,"outcome":{"kind":"exited","code":0},"usage":{},'
        '"started_ms":1,"ended_ms":2,"output":[]}}\n{"start":[4,'
    )

    async def story() -> None:
        async with a_master(state) as master, an_agent(state):
            await master.connected()
            outcomes = {}
            for job in (1, 2, 3):
                outcomes[job] = (await master.hear(m.Ended, job=job)).outcome
            lost = {"kind": "lost", "why": "the machine restarted"}
            assert outcomes == {1: lost, 2: {"kind": "exited", "code": 0}, 3: lost}
            await master.grant(9, "/bin/true")
            await master.hear(m.Ended, job=9)
            assert not dead.exists()

    asyncio.run(story())


def test_a_job_that_cannot_start_is_told_as_such(state: StateDir) -> None:
    async def story() -> None:
        async with a_master(state) as master, an_agent(state):
            await master.connected()
            await master.grant(1, "/no/such/program")
            ended = await master.hear(m.Ended)
            assert ended.outcome["kind"] == "not_started"
            assert ended.started_ms is None

    asyncio.run(story())
