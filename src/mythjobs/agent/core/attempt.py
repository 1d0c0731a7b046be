"""One attempt as its machine knows it, and the phases it goes through here."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from mythjobs.agent.core.lease_terms import PLAIN, Terms
from mythjobs.agent.core.status import Said
from mythjobs.protocol import messages as m

Key = tuple[int, int]
Output = list[tuple[int, int, int]]


class Phase(IntEnum):
    """What is known of an attempt. None of these is stored: journals tell them again."""

    FOUND = 0  # the journal has its grant; what became of it the reapers must tell
    WAITING = 1  # may start as soon as there is room
    STARTING = 2  # handed to the reaper; counts as running
    RUNNING = 3  # its process exists
    OVER = 4  # its process is gone; the outcome is not yet durable
    REPORTED = 5  # the outcome is durable; it is told to the master until acknowledged
    NEVER = 6  # it will not be started; that mark is not yet durable
    RETURNED = 7  # the mark is durable; the master is told until it acknowledges
    FORGOTTEN = 8


# What the heartbeat says. Until its outcome is durable an attempt counts as running: after
# a power cut its end would not be known.
HELD: Final = {
    Phase.FOUND: "leased",
    Phase.WAITING: "leased",
    Phase.STARTING: "leased",
    Phase.RUNNING: "running",
    Phase.OVER: "running",
    Phase.REPORTED: "ended",
    Phase.NEVER: "leased",
    Phase.RETURNED: "leased",
}


class Attempt:
    """Everything the agent holds of one (job, n), from grant to the last acknowledgement."""

    __slots__ = (
        "acked",
        "code",
        "end",
        "holders",
        "key",
        "output",
        "phase",
        "priority",
        "reaper",
        "reason",
        "run",
        "said",
        "start_by_ms",
        "started_ms",
        "stopped",
        "streams",
        "terms",
        "told",
        "told_end_ms",
        "wanted",
        "watchers",
    )

    def __init__(self, key: Key, phase: Phase) -> None:
        self.key = key
        self.phase = phase
        self.priority = 0
        # What to run; given up once it runs, when only the way to read its progress is needed.
        self.run: m.Run | None = None
        self.terms: Terms = PLAIN
        # The lease's end that the reaper and the journal know; it may be longer by now.
        self.told_end_ms = 0
        # Its lease is over, and the reaper was told so.
        self.stopped = False
        # Who asked here that it be frozen, and by whom it is.
        self.wanted: set[str] = set()
        self.holders: tuple[str, ...] = ()
        # On the machine's steady clock.
        self.start_by_ms = 0
        self.reaper = ""
        self.started_ms: int | None = None
        # The master has acknowledged its start, and its end.
        self.told = False
        self.acked = False
        # Why it is given back: a sentence, and a word that the master acts on.
        self.reason = ""
        self.code = ""
        # What it last said of its progress.
        self.said: Said | None = None
        self.end: m.Ended | None = None
        # Streams whose kept bytes the master has not yet taken over; None: none ever were.
        self.streams: set[int] | None = None
        # What is known of its output, by stream: [written, head kept, tail kept].
        self.output: Output = []
        # Who wants to know when it grows: its progress, and each transfer that follows it.
        self.watchers = 0

    @property
    def progress(self) -> str:
        """How its progress is read from its output; "" if it is not."""
        return self.terms.progress

    @property
    def over(self) -> bool:
        """Nothing more of its output comes."""
        return self.phase in (Phase.OVER, Phase.REPORTED, Phase.FORGOTTEN)
