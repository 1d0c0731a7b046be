"""Cases of trio's test_subprocess, told for MythSystem with asyncio."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from collections.abc import Coroutine
from typing import Any

import pytest

from mythjobs.process import (
    MERGED,
    PIPE,
    Exited,
    MythSystem,
    NotStarted,
    Process,
    ProgramFailed,
    Reader,
    Signalled,
    Stopped,
)
from tests.integration.process.host_script import output_of


def run(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(story, 60))


def test_basic() -> None:
    async def story() -> None:
        process = MythSystem(["true"]).start()
        assert isinstance(process.pid, int)
        assert await process.ended() == Exited(0)
        assert process.outcome == Exited(0)
        assert "true: Exited(code=0)" in repr(process)
        process = MythSystem(["false"]).start()
        assert await process.ended() == Exited(1)
        running = MythSystem(["sleep", "600"]).start()
        assert f"pid {running.pid}" in repr(running)
        running.kill()

    run(story())


def test_multi_wait() -> None:
    async def story() -> None:
        process = MythSystem(["sleep", "600"]).start()
        tasks = [asyncio.create_task(process.ended()) for _ in range(3)]
        threads = [asyncio.create_task(asyncio.to_thread(process.wait)) for _ in range(2)]
        await asyncio.sleep(0)  # the tasks wait now
        tasks[0].cancel()
        process.stop(grace_s=0)
        assert await asyncio.gather(*tasks[1:], *threads) == [Stopped("user")] * 4
        assert tasks[0].cancelled()
        # After the end, as well.
        assert await process.ended() == Stopped("user")

    run(story())


def test_pipes() -> None:
    message = b"the quick brown fox jumps over the lazy dog"
    code = (
        "import sys; data = sys.stdin.buffer.read();"
        "sys.stdout.buffer.write(data); sys.stderr.buffer.write(data[::-1])"
    )

    async def story() -> None:
        argv = [sys.executable, "-S", "-c", code]
        process = MythSystem(argv, stdin=PIPE, stdout=PIPE, stderr=PIPE).start()
        assert isinstance(process.stdout, Reader)
        assert isinstance(process.stderr, Reader)
        reading = asyncio.gather(process.stdout.read_async(), process.stderr.read_async())
        assert await process.stdin.write_async(message)
        process.stdin.close()
        assert list(await reading) == [message, message[::-1]]
        assert await process.ended() == Exited(0)

    run(story())


def test_interactive() -> None:
    """Requests and answers of changing sizes, beyond what a pipe holds."""
    code = (
        "import sys\n"
        "for line in sys.stdin:\n"
        "    n = int(line)\n"
        "    if not n: break\n"
        "    sys.stdout.write(str(n) * n + '\\n'); sys.stdout.flush()\n"
        "    sys.stderr.write(str(-n) + '\\n'); sys.stderr.flush()\n"
    )

    async def story() -> None:
        argv = [sys.executable, "-S", "-c", code]
        process = MythSystem(argv, stdin=PIPE, stdout=PIPE, stderr=PIPE).start()
        assert isinstance(process.stdout, Reader)
        assert isinstance(process.stderr, Reader)
        out, err = process.stdout.lines(), process.stderr.lines()
        sizes = random.Random(1).sample(range(1, 40_000), 15)
        for n in sizes:
            await process.stdin.write_async(b"%d\n" % n)
            assert await anext(out) == b"%d" % n * n + b"\n"
            assert await anext(err) == b"%d\n" % -n
        await process.stdin.write_async(b"0\n")
        assert await process.stdout.read_async() == b""
        assert await process.ended() == Exited(0)

    run(story())


def test_run() -> None:
    data = random.Random(2).randbytes(1 << 18)
    done = MythSystem(["cat"], stdin=data).run()
    assert (done.exit_code, done.stdout.read()) == (0, data)
    done = MythSystem(["cat"], stdin=data, stdout="/dev/null").run()
    assert done.ok
    with pytest.raises(ValueError, match="was not BUFFERED"):
        _ = done.stdout
    with pytest.raises(ValueError, match="cannot serve a PIPE"):
        MythSystem(["cat"], stdin=PIPE).run()


def test_run_check() -> None:
    code = "import sys; sys.stderr.write('test\\n'); sys.exit(1)"
    system = MythSystem([sys.executable, "-S", "-c", code])
    with pytest.raises(ProgramFailed, match="exit code 1: test") as failed:
        system.run().check()
    assert failed.value.done.exit_code == 1
    assert failed.value.done.stderr.read() == b"test\n"


def test_run_with_broken_pipe() -> None:
    argv = [sys.executable, "-S", "-c", "import sys; sys.stdin.close()"]
    assert MythSystem(argv, stdin=b"x" * 131_072).run().exit_code == 0


def test_stderr_stdout() -> None:
    text = "cat; printf err >&2"
    for more in {}, {"stdout": PIPE}:
        process = MythSystem.shell(text, stdin=PIPE, stderr=MERGED, **more).start()
        assert process.communicate(b"out ") == (b"out err", None)
    script = """
text = "cat; printf err >&2"
done = MythSystem.shell(text, stdin=b"1234", stdout=INHERIT, stderr=MERGED).run()
assert done.ok
"""
    assert output_of(script) == "1234err"


def test_errors() -> None:
    for wrong in ("ls", b"ls"):
        with pytest.raises(ValueError):
            MythSystem(wrong)  # type: ignore[arg-type]
    assert isinstance(MythSystem(["/oops"]).run().outcome, NotStarted)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_signals(number: int) -> None:
    async def story() -> None:
        process = MythSystem(["sleep", "600"]).start()
        assert process.signal(number) == 1
        assert await process.ended() == Signalled(number)

    run(story())


def test_wait_for_a_program_whose_status_is_taken() -> None:
    script = """
import asyncio
async def story():
    process = MythSystem(["sleep", "600"]).start()
    waiting = asyncio.create_task(process.ended())
    await asyncio.sleep(0)
    process.stop(grace_s=0)
    print(await asyncio.wait_for(waiting, 50))
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
asyncio.run(story())
"""
    assert output_of(script) == "Stopped(by='user')\n"


def test_cancel_the_wait_then_stop() -> None:
    """What trio's run_process does when it is cancelled, with the library's own means."""

    async def run_or_stop(process: Process) -> None:
        try:
            await process.ended()
        except asyncio.CancelledError:
            process.stop(grace_s=0.05)
            assert await asyncio.shield(process.ended()) == Stopped("user")
            raise

    async def story() -> None:
        text = "trap '' TERM; echo ready; while :; do sleep 0.01; done"
        stubborn = MythSystem.shell(text, stdout=PIPE).start()
        assert isinstance(stubborn.stdout, Reader)
        assert await stubborn.stdout.read_some_async() == b"ready\n"
        for process in (MythSystem(["sleep", "600"]).start(), stubborn):
            task = asyncio.create_task(run_or_stop(process))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    run(story())


def test_a_timeout_around_the_wait() -> None:
    async def story() -> None:
        process = MythSystem(["sleep", "600"]).start()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(process.ended(), 0.02)
        assert process.outcome is None
        assert process.kill() == Stopped("user")

    run(story())


def test_for_leaking_descriptors() -> None:
    async def story() -> None:
        for _ in range(2):
            before = set(os.listdir("/proc/self/fd"))
            await MythSystem(["true"]).start().ended()
            await MythSystem(["/dev/null/none"]).start().ended()
            process = MythSystem(["cat"], stdin=PIPE, stdout=PIPE, stderr=PIPE).start()
            with process:
                await process.stdin.write_async(b"x")
            after = set(os.listdir("/proc/self/fd"))
        # In the second round the library had everything that it keeps.
        assert after == before

    run(story())


def test_concurrent_programs_in_one_loop() -> None:
    async def one(i: int) -> bool:
        process = MythSystem(["cat"], stdin=PIPE, stdout=PIPE).start()
        assert isinstance(process.stdout, Reader)
        data = b"%d " % i * 30_000
        reading = asyncio.create_task(process.stdout.read_async())
        await process.stdin.write_async(data)
        process.stdin.close()
        return await reading == data and await process.ended() == Exited(0)

    async def story() -> None:
        assert all(await asyncio.gather(*(one(i) for i in range(50))))

    run(story())
