"""A program that a job runs: how long it works, what it answers to TERM, how it ends."""

from __future__ import annotations

from collections.abc import Callable

from tests.simulation.world import World

Key = tuple[int, int]


class Program:
    """Its argv is `work SECONDS CODES MANNER SUBJECT`: the n-th attempt exits with the n-th of
    the codes, or the last; in the manner `deaf` it does not hear TERM.

    It works while it is not frozen. `died` is called once, with its exit code or its signal.
    """

    def __init__(
        self, world: World, key: Key, argv: list[str], died: Callable[[Program], None]
    ) -> None:
        _, seconds, codes, manner, subject = argv
        each = codes.split(",")
        self.key = key
        self.subject = "" if subject == "none" else subject
        self.code = int(each[min(key[1], len(each)) - 1])
        self.deaf = manner == "deaf"
        # When the reaper that kept it was killed.
        self.orphaned_ms: int | None = None
        self.killed = 0  # by which signal
        self.ending = False  # somebody has told it to
        self.frozen = False
        self._left_ms = round(1000 * float(seconds))
        self._world = world
        self._died = died
        self._began_ms = world.now
        self._end = world.after(self._left_ms, self._exit)
        self.over = False

    def freeze(self, on: bool) -> None:
        if on == self.frozen or self.over:
            return
        self.frozen = on
        if on:
            self._end.cancel()
            self._left_ms -= self._world.now - self._began_ms
        else:
            self._began_ms = self._world.now
            self._end = self._world.after(self._left_ms, self._exit)

    def term(self) -> None:
        self.ending = True
        if not self.deaf:
            self._world.after(self._world.random.randrange(200), self.kill, 15)

    def kill(self, signal: int = 9) -> None:
        if not self.over:
            self._end.cancel()
            self.over = True
            self.killed = signal
            self._died(self)

    def _exit(self) -> None:
        self.over = True
        self._died(self)

    @property
    def outcome(self) -> object:
        return f"signal {self.killed}" if self.killed else self.code
