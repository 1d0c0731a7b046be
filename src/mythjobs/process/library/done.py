"""Result of an ended program: outcome, usage and kept output."""

from __future__ import annotations

from typing import Final

from mythjobs.model.limits import Usage
from mythjobs.model.outcome import Exited, Outcome, describe
from mythjobs.process.library.buffer import Buffer
from mythjobs.process.library.spec import CallerStreams

# Maximum length of the quotation from stderr in ProgramFailed's message.
_MAX_QUOTED: Final = 200


class ProgramFailed(Exception):
    """Raised by Done.check(). Its text is a sentence for users; `done` has the details."""

    def __init__(self, sentence: str, done: Done) -> None:
        super().__init__(sentence)
        self.done = done


class Done:
    """An ended program: outcome, usage and kept output.

    exit_code: exit code of the program; None if it was not started or was killed by a signal.
    unenforced: one sentence for each limit that could not be enforced, for programs started with
        `best_effort`.
    """

    __slots__ = ("_program", "_streams", "exit_code", "outcome", "unenforced", "usage")

    def __init__(
        self,
        program: str,
        outcome: Outcome,
        exit_code: int | None,
        usage: Usage,
        streams: CallerStreams,
        unenforced: tuple[str, ...] = (),
    ) -> None:
        self._program = program
        self._streams = streams
        self.outcome = outcome
        self.exit_code = exit_code
        self.usage = usage
        self.unenforced = unenforced

    @property
    def ok(self) -> bool:
        """True if the program exited with 0."""
        return self.outcome == Exited(0)

    def check(self) -> Done:
        """Return this result. Raises ProgramFailed unless the program exited with 0."""
        if self.ok:
            return self
        text = f"{self._program}: {describe(self.outcome)}"
        if isinstance(self._streams.stderr, Buffer):
            lines = self._streams.stderr.tail().decode("utf-8", "replace").split("\n")
            last = next((each.strip() for each in reversed(lines) if each.strip()), "")
            text += f": {last[:_MAX_QUOTED]}" if last else ""
        raise ProgramFailed(text, self)

    @property
    def stdout(self) -> Buffer:
        """Kept output of the program on stdout. Raises ValueError if stdout was not BUFFERED."""
        return _require_buffer(self._streams.stdout, "stdout")

    @property
    def stderr(self) -> Buffer:
        """Kept output of the program on stderr. Raises ValueError if stderr was not BUFFERED."""
        return _require_buffer(self._streams.stderr, "stderr")

    def __repr__(self) -> str:
        return f"Done({self.outcome!r}, {self.usage!r})"


def _require_buffer(stream: object, name: str) -> Buffer:
    if isinstance(stream, Buffer):
        return stream
    raise ValueError(f"{name} was not BUFFERED, so none of it was kept")
