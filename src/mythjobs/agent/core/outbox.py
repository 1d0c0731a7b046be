"""What is to be said to the master: gathered between frames, said again until acknowledged."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Sequence
from typing import Final, NamedTuple

from mythjobs.agent.core.attempt import HELD, Attempt, Phase
from mythjobs.clock import Now
from mythjobs.protocol import messages as m

# docs/protocol.md: what comes up meanwhile goes into the next frame.
_MOST_UNACKNOWLEDGED: Final = 2
_PROGRESS_MS: Final = 500


class _Frame(NamedTuple):
    no: int
    started: Sequence[Attempt]
    final: Sequence[Attempt]


class Outbox:
    """Frames of one connection after another; `reset` begins the next."""

    def __init__(self) -> None:
        self._no = 0
        self._hb = 0
        self._frames: deque[_Frame] = deque()
        self._hb_due = False
        self._started: dict[Attempt, None] = {}
        self._final: list[Attempt] = []
        self._frozen: dict[Attempt, None] = {}
        self._said: dict[Attempt, None] = {}
        # When progress of an attempt was last sent: it goes at most twice a second.
        self._said_ms: dict[Attempt, int] = {}
        self._ends: list[m.OutputEnd] = []

    def reset(self, known: Collection[Attempt]) -> None:
        """A new connection: nothing of an old frame counts, so all of it is said again."""
        self._no = 0
        self._frames.clear()
        self._ends.clear()
        self._said_ms.clear()
        self._said = {each: None for each in known if each.phase < Phase.REPORTED and each.said}
        self._hb_due = True
        self._frozen = {
            each: None for each in known if each.phase is Phase.RUNNING and each.holders
        }
        self._started = {
            each: None for each in known if each.phase is Phase.RUNNING and not each.told
        }
        self._final = [
            each
            for each in known
            if each.phase is Phase.RETURNED
            or (each.phase is Phase.REPORTED and (not each.acked or each.streams))
        ]

    def heartbeat(self) -> None:
        self._hb_due = True

    def started(self, attempt: Attempt) -> None:
        self._started[attempt] = None

    def final(self, attempt: Attempt) -> None:
        """Its end is durable, or the mark that it will never start."""
        # The end says also when it started.
        self._started.pop(attempt, None)
        self._final.append(attempt)

    def frozen(self, attempt: Attempt) -> None:
        """It is frozen by others than before."""
        self._frozen[attempt] = None

    def progress(self, attempt: Attempt) -> None:
        self._said[attempt] = None

    def output_end(self, end: m.OutputEnd) -> None:
        self._ends.append(end)

    def forget(self, attempt: Attempt) -> None:
        self._frozen.pop(attempt, None)
        self._said.pop(attempt, None)
        self._said_ms.pop(attempt, None)

    def wake_ms(self) -> int | None:
        """When, on the steady clock, progress that was held back may go; None if none was."""
        if len(self._frames) >= _MOST_UNACKNOWLEDGED:
            return None
        return min(
            (self._said_ms.get(each, -_PROGRESS_MS) + _PROGRESS_MS for each in self._said),
            default=None,
        )

    def take(
        self, now: Now, *, seen: int, room: int, known: Iterable[Attempt]
    ) -> tuple[m.AgentFrame, int | None] | None:
        """The next frame, and the `hb` in it; None while nothing is to be said, or the master
        has not acknowledged enough."""
        if len(self._frames) >= _MOST_UNACKNOWLEDGED:
            return None
        messages: list[m.AgentMessage] = []
        hb = None
        if self._hb_due:
            self._hb_due = False
            self._hb = hb = self._hb + 1
            held = [m.Held(*each.key, HELD[each.phase]) for each in known if not each.acked]
            messages.append(m.Heartbeat(hb, held, now.wall_ms))
        started, final = list(self._started), self._final
        for each in started:
            messages.append(m.Started(*each.key, each.started_ms or now.wall_ms))
        for each in self._frozen:
            messages.append(m.Frozen(*each.key, list(each.holders)))
        if self._said:
            self._take_progress(messages, now)
        for each in final:
            _say_final(each, messages)
        messages += self._ends
        if not messages:
            return None
        self._started, self._final, self._ends, self._frozen = {}, [], [], {}
        self._no += 1
        self._frames.append(_Frame(self._no, started, final))
        return m.AgentFrame(self._no, seen, room, messages), hb

    def acknowledge(self, no: int) -> list[Attempt]:
        """The attempts whose end or return the master has now; told are those that started."""
        done: list[Attempt] = []
        while self._frames and self._frames[0].no <= no:
            frame = self._frames.popleft()
            for each in frame.started:
                each.told = True
            done += frame.final
        return done

    def _take_progress(self, messages: list[m.AgentMessage], now: Now) -> None:
        for each in list(self._said):
            # What it said last goes before its end, whenever that is.
            due = each.phase >= Phase.REPORTED
            if due or now.steady_ms >= self._said_ms.get(each, -_PROGRESS_MS) + _PROGRESS_MS:
                del self._said[each]
                self._said_ms[each] = now.steady_ms
                messages.append(m.Progress(*each.key, *(each.said or ())))


def _say_final(attempt: Attempt, messages: list[m.AgentMessage]) -> None:
    job, n = attempt.key
    if attempt.end is None:
        messages.append(m.Returned(job, n, attempt.reason, attempt.code))
        return
    if not attempt.acked:
        messages.append(attempt.end)
    for stream in sorted(attempt.streams or ()):
        _, head, tail = attempt.end.output[stream - 1]
        messages.append(m.OutputOffer(job, n, stream, head + tail))
