"""Model of a job's program: how long it runs, how it reacts to SIGTERM, and its exit code."""

from __future__ import annotations

from collections.abc import Callable

from tests.simulation.simulator import Simulator

Key = tuple[int, int]  # job id and attempt number


class Program:
    """Program with argv `work SECONDS CODES MANNER SUBJECT`.

    Attempt n exits with the n-th of CODES, or the last. With MANNER `deaf` it ignores SIGTERM.
    Frozen time does not count towards SECONDS. `on_exit` is called once.
    """

    def __init__(
        self, sim: Simulator, key: Key, argv: list[str], on_exit: Callable[[Program], None]
    ) -> None:
        _, seconds, codes, manner, subject = argv
        each = codes.split(",")
        self.key = key
        self.subject = "" if subject == "none" else subject
        self.code = int(each[min(key[1], len(each)) - 1])
        self.ignores_term = manner == "deaf"
        # When its reaper was killed.
        self.orphaned_ms: int | None = None
        self.killed_by = 0  # signal number
        self.is_terminating = False  # was sent SIGTERM
        self.is_frozen = False
        self.has_exited = False
        self._remaining_ms = round(1000 * float(seconds))
        self._sim = sim
        self._on_exit = on_exit
        self._started_ms = self._running_since_ms = sim.now_ms
        self._active_ms = 0  # before _running_since_ms
        self._exit_call = sim.call_later(self._remaining_ms, self._exit)

    def freeze(self, is_frozen: bool) -> None:
        if is_frozen == self.is_frozen or self.has_exited:
            return
        self.is_frozen = is_frozen
        if is_frozen:
            self._exit_call.cancel()
            self._remaining_ms -= self._sim.now_ms - self._running_since_ms
            self._active_ms += self._sim.now_ms - self._running_since_ms
        else:
            self._running_since_ms = self._sim.now_ms
            self._exit_call = self._sim.call_later(self._remaining_ms, self._exit)

    def terminate(self) -> None:
        self.is_terminating = True
        if not self.ignores_term:
            self._sim.call_later(self._sim.random.randrange(200), self.kill, 15)

    def kill(self, signal: int = 9) -> None:
        if not self.has_exited:
            self._exit_call.cancel()
            self.has_exited = True
            self.killed_by = signal
            self._on_exit(self)

    def active_ms(self) -> int:
        """Return for how long the program has run, without the time during which it was frozen."""
        if self.is_frozen:
            return self._active_ms
        return self._active_ms + self._sim.now_ms - self._running_since_ms

    def usage(self) -> dict[str, float]:
        """Return durations as a reaper reports them."""
        wall_ms, active_ms = self._sim.now_ms - self._started_ms, self.active_ms()
        return {"wall_s": wall_ms / 1000, "frozen_s": (wall_ms - active_ms) / 1000}

    def _exit(self) -> None:
        self.has_exited = True
        self._on_exit(self)

    @property
    def outcome(self) -> object:
        return f"signal {self.killed_by}" if self.killed_by else self.code
