"""Streams of MythSystem in asyncio: reading, writing, lines, and cancelled tasks."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

import pytest

from mythjobs.process import PIPE, Buffer, Exited, MythSystem, Process, Reader, Stopped

LARGE = bytes(range(256)) * 12_000


def run(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(story, 60))


def cat(**more: Any) -> tuple[Process, Reader]:
    process = MythSystem(["cat"], stdin=PIPE, stdout=PIPE, **more).start()
    assert isinstance(process.stdout, Reader)
    return process, process.stdout


def test_large_data_is_written_and_read() -> None:
    async def story() -> None:
        process, stdout = cat()
        reading = asyncio.create_task(stdout.read_async())
        assert await process.stdin.write_async(LARGE)
        process.stdin.close()
        assert await reading == LARGE
        assert await process.ended() == Exited(0)

    run(story())


def test_writing_reads_ahead() -> None:
    async def story() -> None:
        process, stdout = cat()
        assert await process.stdin.write_async(LARGE)
        process.stdin.close()
        assert await stdout.read_async() == LARGE

    run(story())


def test_reading_one_pipe_reads_the_other_ahead() -> None:
    async def story() -> None:
        text = "head -c 1000000 /dev/zero >&2; echo out; echo err >&2"
        process = MythSystem.shell(text, stdout=PIPE, stderr=PIPE).start()
        assert isinstance(process.stdout, Reader)
        assert isinstance(process.stderr, Reader)
        assert await process.stdout.read_async() == b"out\n"
        assert len(await process.stderr.read_async()) == 1_000_004

    run(story())


def test_both_pipes_are_read_by_two_tasks() -> None:
    async def story() -> None:
        process = MythSystem(["tee", "/dev/stderr"], stdin=PIPE, stdout=PIPE, stderr=PIPE).start()
        assert isinstance(process.stdout, Reader)
        assert isinstance(process.stderr, Reader)
        reading = asyncio.gather(process.stdout.read_async(), process.stderr.read_async())
        assert await process.stdin.write_async(LARGE)
        process.stdin.close()
        assert list(await reading) == [LARGE, LARGE]

    run(story())


def test_lines_and_chunks_of_a_pipe() -> None:
    async def story() -> None:
        process, stdout = cat()
        lines = stdout.lines()
        for word in b"a\n", b"b\n":
            await process.stdin.write_async(word)
            assert await anext(lines) == word
        process.stdin.close()
        assert [line async for line in lines] == []
        process, stdout = cat()
        await process.stdin.write_async(b"chunk")
        async for chunk in stdout:
            assert chunk == b"chunk"
            process.stdin.close()

    run(story())


def test_lines_and_chunks_of_a_buffer() -> None:
    async def story() -> None:
        process = MythSystem(["cat"], stdin=PIPE).start()
        assert isinstance(process.stdout, Buffer)
        several = [asyncio.create_task(collect(process.stdout)) for _ in range(3)]
        lines = process.stdout.lines()
        for word in b"a\n", b"b\n":
            process.stdin.write(word)
            assert await anext(lines) == word
        process.stdin.close()
        assert [line async for line in lines] == []
        assert await asyncio.gather(*several) == [b"a\nb\n"] * 3

    async def collect(buffer: Buffer) -> bytes:
        return b"".join([chunk async for chunk in buffer])

    run(story())


def test_a_cancelled_read_loses_nothing() -> None:
    async def story() -> None:
        process, stdout = cat()
        read = 0
        for i in range(100):
            reading = asyncio.create_task(stdout.read_some_async())
            await asyncio.sleep(0)
            process.stdin.write(b"x")
            if i % 2:
                await asyncio.sleep(0.001)
            reading.cancel()
            with suppress(asyncio.CancelledError):
                read += len(await reading)
        process.stdin.close()
        assert read + len(await stdout.read_async()) == 100

    run(story())


def test_a_cancelled_write_and_wait_leave_the_program_alone() -> None:
    async def story() -> None:
        process = MythSystem(["sleep", "600"], stdin=PIPE).start()
        for awaitable in (process.stdin.write_async(LARGE), process.ended()):
            task = asyncio.ensure_future(awaitable)
            await asyncio.sleep(0)  # the task waits now
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert process.outcome is None
        process.stop()
        assert await process.ended() == Stopped("user")
        assert await process.stdin.write_async(b"x") is False

    run(story())


def test_closing_an_end_wakes_its_tasks() -> None:
    async def story() -> None:
        process = MythSystem(["sleep", "600"], stdin=PIPE, stdout=PIPE).start()
        assert isinstance(process.stdout, Reader)
        reading = asyncio.create_task(process.stdout.read_async())
        writing = asyncio.create_task(process.stdin.write_async(LARGE))
        await asyncio.sleep(0)  # both tasks wait now
        process.stdout.close()
        process.stdin.close()
        assert await reading == b""
        assert await writing is False
        process.kill()

    run(story())


def test_tasks_in_two_event_loops_read_one_buffer() -> None:
    process = MythSystem(["cat"], stdin=PIPE).start()
    buffer = process.stdout
    assert isinstance(buffer, Buffer)

    async def story(is_waiting: threading.Event) -> None:
        # The callback runs once this task waits for the first chunk.
        asyncio.get_running_loop().call_soon(is_waiting.set)
        assert b"".join([chunk async for chunk in buffer]) == b"text"

    async def both() -> None:
        here, there = threading.Event(), threading.Event()
        other = asyncio.to_thread(asyncio.run, story(there))
        waiting = asyncio.gather(other, story(here))
        for each in (here, there):
            assert await asyncio.to_thread(each.wait, 20)
        process.stdin.write(b"text")
        process.stdin.close()
        await waiting

    run(both())


def test_an_event_loop_that_is_closed_meanwhile_is_no_error() -> None:
    process, stdout = cat()

    async def story() -> None:
        tasks = [
            asyncio.create_task(stdout.read_async()),
            asyncio.create_task(process.ended()),
        ]
        await asyncio.sleep(0)
        assert not any(task.done() for task in tasks)

    run(story())
    process.stdin.write(b"text")
    process.stdin.close()
    assert stdout.read() == b"text"
    assert process.wait() == Exited(0)


def test_no_descriptor_stays_watched() -> None:
    async def story() -> None:
        for _ in range(3):
            process, stdout = cat()
            assert await process.stdin.write_async(LARGE)
            process.stdin.close()
            assert len(await stdout.read_async()) == len(LARGE)
            stdout.close()
            await process.ended()
        selector = asyncio.get_running_loop()._selector  # type: ignore[attr-defined]
        # The loop's own wake-up only.
        assert len(selector.get_map()) == 1

    before = len(os.listdir("/proc/self/fd"))
    run(story())
    assert len(os.listdir("/proc/self/fd")) == before
