"""Event loop: stale events, and how often a pacer lets the loop do something."""

from __future__ import annotations

import os
import select

from mythjobs.process.event_loop import EventLoop, Pacer

INTERVAL_MS = 5


def test_a_pacer_lets_the_loop_go_once_in_an_interval_and_wakes_it_then() -> None:
    loop = EventLoop()
    try:
        pacer = Pacer(loop, INTERVAL_MS)
        began_ms = loop.now.run_ms
        assert pacer.try_to_go()
        assert not pacer.try_to_go()
        # Nothing but the pacer ends this iteration.
        loop.run_once()
        assert loop.now.run_ms >= began_ms + INTERVAL_MS
        assert pacer.try_to_go()
        assert not pacer.try_to_go()
    finally:
        loop.close()


def test_an_event_of_a_closed_descriptor_does_not_reach_its_successor() -> None:
    # Otherwise a program that has just been started counts as exited, and is killed, if its pidfd
    # has the number of a pipe that was closed in the same iteration.
    loop = EventLoop()
    first, second, third = os.pipe(), os.pipe(), os.pipe()
    calls: list[str] = []

    def replace_second() -> None:
        calls.append("first")
        loop.unwatch(first[0])
        loop.unwatch(second[0])
        os.dup2(third[0], second[0])
        loop.watch(second[0], lambda: calls.append("third"))

    try:
        loop.watch(first[0], replace_second)
        loop.watch(second[0], lambda: calls.append("second"))
        # Epoll reports events in the order in which they occur.
        os.write(first[1], b"1")
        os.write(second[1], b"2")
        loop.run_once()
        assert calls == ["first"]
        os.write(third[1], b"3")
        loop.run_once()
        assert calls == ["first", "third"]
    finally:
        for fd in (*first, *second, *third):
            os.close(fd)
        loop.close()


def test_an_event_that_precedes_the_watch_of_its_descriptor_is_not_lost() -> None:
    """The spawner adds pidfds to the epoll instance before the loop knows of them."""
    loop = EventLoop()
    first, second = os.pipe(), os.pipe()
    calls: list[str] = []

    def watch_second() -> None:
        loop.unwatch(first[0])
        loop.watch_added(second[0], lambda: calls.append("second"))

    try:
        loop.watch(first[0], watch_second)
        with select.epoll.fromfd(os.dup(loop.epoll_fd)) as epoll:
            epoll.register(second[0], select.EPOLLIN)
        os.write(first[1], b"1")
        os.write(second[1], b"2")
        loop.run_once()
        assert calls == ["second"]
    finally:
        for fd in (*first, *second):
            os.close(fd)
        loop.close()
