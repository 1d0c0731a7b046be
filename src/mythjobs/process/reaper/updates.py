"""What is told of running attempts now and then: that output grew, what they say themselves."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from mythjobs.process.procfs import Key
from mythjobs.process.reaper import messages
from mythjobs.process.reaper.attempt import Attempt
from mythjobs.process.supervise.loop import Loop

_EVERY_MS: Final = 200


class News:
    """At most five times a second, all attempts together; not while the agent is behind."""

    def __init__(self, loop: Loop, say: Callable[[str], None], behind: Callable[[], bool]) -> None:
        self._loop = loop
        self._say = say
        self._behind = behind
        self._grown: dict[Key, Attempt] = {}
        self._spoken: dict[Key, Attempt] = {}
        self._due = False
        self._next_ms = 0

    def grew(self, attempt: Attempt) -> None:
        self._grown[attempt.key] = attempt
        self._set()

    def follow(self, attempt: Attempt) -> None:
        """Read what it writes into its status pipe, until its end."""
        if attempt.status_pipe:
            self._loop.watch(attempt.status_pipe.fd, partial(self._speaks, attempt))

    def _speaks(self, attempt: Attempt) -> None:
        pipe = attempt.status_pipe
        if pipe is None:
            return
        pipe.read()
        # Not read again until it is told: a job that floods its pipe has to wait, not we.
        self._loop.unwatch(pipe.fd)
        self._spoken[attempt.key] = attempt
        self._set()

    def last(self, attempt: Attempt) -> None:
        """It is over: say what is unsaid, before its end is said."""
        self._grown.pop(attempt.key, None)
        if attempt.watch and attempt.written:
            self._say(messages.grew(attempt))
        pipe, attempt.status_pipe = attempt.status_pipe, None
        if pipe is None:
            return
        pipe.read()
        if attempt.lasting and not self._spoken.pop(attempt.key, None):
            self._loop.unwatch(pipe.fd)
        if lines := pipe.take():
            self._say(messages.status(attempt, lines))
        pipe.close()

    def _set(self) -> None:
        if not self._due:
            self._due = True
            self._loop.at(max(self._next_ms, self._loop.now.run_ms), self._tell)

    def _tell(self) -> None:
        self._due = False
        self._next_ms = self._loop.now.run_ms + _EVERY_MS
        if self._behind():
            self._set()
            return
        for attempt in self._grown.values():
            self._say(messages.grew(attempt))
        self._grown.clear()
        spoken, self._spoken = self._spoken, {}
        for attempt in spoken.values():
            if attempt.status_pipe:
                if lines := attempt.status_pipe.take():
                    self._say(messages.status(attempt, lines))
                self.follow(attempt)
