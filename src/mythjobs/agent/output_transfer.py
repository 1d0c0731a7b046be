"""Output on its way to the master: read in pieces, never more than the master has credit for."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from pathlib import Path

from mythjobs.agent.core.attempt import Attempt, Key
from mythjobs.model.output_window import OutputWindow
from mythjobs.process.reaper.output import read_kept, read_range, stream_path
from mythjobs.protocol import codec
from mythjobs.protocol import messages as m

_NOTHING = OutputWindow(0, 0, 0)
GONE = "gone"


class _Transfer:
    """`offset` is the next byte to send: of the stream, or of what is kept of it."""

    def __init__(self, asked: m.OutputFetch, attempt: Attempt) -> None:
        self.no = asked.transfer
        self.attempt = attempt
        self.stream = asked.stream
        self.offset = asked.offset
        self.kept = asked.kept
        self.follow = asked.follow
        self.credit = codec.CREDIT_BYTES
        # How much there is is known once the reaper has said so, or the end.
        self.known = attempt.over
        self.watching = False

    @property
    def state(self) -> OutputWindow:
        output = self.attempt.output
        return OutputWindow(*output[self.stream - 1]) if self.stream <= len(output) else _NOTHING


class Transfers:
    """`watch` says that so many more, or less, follow an attempt; `end` takes the last word."""

    def __init__(
        self,
        output: Path,
        find: Callable[[Key], Attempt | None],
        watch: Callable[[Key, int], None],
        end: Callable[[m.OutputEnd], None],
    ) -> None:
        self._output = output
        self._find = find
        self._watch = watch
        self._end = end
        self._open: dict[int, _Transfer] = {}
        # Those that may have something to send, in turns: one large output does not keep
        # the others waiting.
        self._ready: deque[_Transfer] = deque()

    def hear(self, message: m.OutputFetch | m.OutputCredit | m.OutputStop) -> None:
        match message:
            case m.OutputFetch():
                self._fetch(message)
            case m.OutputCredit():
                if transfer := self._open.get(message.transfer):
                    transfer.credit += message.bytes
                    self._wake(transfer)
            case m.OutputStop():
                if transfer := self._open.get(message.transfer):
                    self._close(transfer)

    def grew(self, attempt: Attempt) -> None:
        """Its output has grown, or it is over."""
        for transfer in self._open.values():
            if transfer.attempt is attempt:
                transfer.known = True
                self._wake(transfer)

    def clear(self) -> None:
        """The connection is gone, and all that was under way on it."""
        for transfer in list(self._open.values()):
            self._close(transfer)
        self._ready.clear()

    def next(self) -> bytes | None:
        """The next binary frame, or None while there is nothing that may be sent."""
        while self._ready:
            transfer = self._ready.popleft()
            if self._open.get(transfer.no) is not transfer or not transfer.known:
                continue
            if transfer.credit <= 0:
                continue
            size = min(transfer.credit, codec.MOST_CHUNK_BYTES)
            begin, data = self._read(transfer, size)
            if data:
                transfer.offset = begin + len(data)
                transfer.credit -= len(data)
                self._ready.append(transfer)
                return codec.encode_chunk(codec.Chunk(transfer.no, begin, data))
            if transfer.attempt.over or not transfer.follow:
                self._finish(transfer)
        return None

    def _fetch(self, asked: m.OutputFetch) -> None:
        attempt = self._find((asked.job, asked.n))
        if attempt is None or asked.stream not in (1, 2) or asked.transfer in self._open:
            self._end(m.OutputEnd(asked.transfer, GONE))
            return
        if asked.kept and not attempt.over:
            self._end(m.OutputEnd(asked.transfer, "the attempt is not over"))
            return
        transfer = self._open[asked.transfer] = _Transfer(asked, attempt)
        if not attempt.over:
            # The reaper answers at once with how much there is by now.
            transfer.watching = True
            self._watch(attempt.key, 1)
        self._wake(transfer)

    def _read(self, transfer: _Transfer, size: int) -> tuple[int, bytes]:
        path = stream_path(self._output, *transfer.attempt.key, transfer.stream)
        if transfer.kept:
            return transfer.offset, read_kept(path, transfer.state, transfer.offset, size)
        return read_range(path, transfer.state, transfer.offset, size)

    def _finish(self, transfer: _Transfer) -> None:
        self._close(transfer)
        kept = transfer.state
        there = kept.head + kept.tail if transfer.kept else kept.written
        # Short of that: its files are forgotten, or the disk lost them.
        error = GONE if transfer.offset < there and transfer.attempt.over else ""
        self._end(m.OutputEnd(transfer.no, error, kept.dropped if transfer.attempt.over else 0))

    def _close(self, transfer: _Transfer) -> None:
        self._open.pop(transfer.no, None)
        if transfer.watching:
            transfer.watching = False
            self._watch(transfer.attempt.key, -1)

    def _wake(self, transfer: _Transfer) -> None:
        if transfer not in self._ready:
            self._ready.append(transfer)
