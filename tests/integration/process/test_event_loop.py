"""Event loop: how often a pacer lets the loop do something."""

from __future__ import annotations

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
