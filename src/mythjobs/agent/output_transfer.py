"""Output transfers: send output of attempts to the master, in chunks, as far as the master has
granted credit (flow control by bytes)."""

from __future__ import annotations

import base64
from collections import deque
from collections.abc import Callable
from pathlib import Path

from mythjobs.agent.core.attempt import AgentAttempt, Key
from mythjobs.model.output_window import OutputWindow
from mythjobs.process.reaper.output_file import read_range, read_window, stream_path
from mythjobs.protocol import codec
from mythjobs.protocol import messages as m

_EMPTY = OutputWindow(0, 0, 0)
GONE = "gone"


class _OutgoingTransfer:
    """Transfer of one output stream to the master. `offset` is the position of the next byte to
    send: in the whole stream or, if `kept`, in the kept bytes (the head followed by the tail)."""

    def __init__(self, request: m.OutputFetch, attempt: AgentAttempt) -> None:
        self.no = request.transfer
        self.attempt = attempt
        self.stream = request.stream
        self.offset = request.offset
        self.kept = request.kept
        self.follow = request.follow
        self.credit = codec.TRANSFER_WINDOW_BYTES
        # True once the reaper has reported the stream's current size or the end of the attempt;
        # before, the agent cannot tell how much there is to send.
        self.is_size_known = attempt.is_output_complete
        self.is_watching = False

    @property
    def window(self) -> OutputWindow:
        output = self.attempt.output
        return OutputWindow(*output[self.stream - 1]) if self.stream <= len(output) else _EMPTY


class OutputTransfers:
    """Output transfers that the master has requested on the current connection.

    `change_watchers` adds to the number of readers of an attempt's new output. While that number
    is not 0, the reaper sends updates on new output.
    """

    def __init__(
        self,
        output: Path,
        find_attempt: Callable[[Key], AgentAttempt | None],
        change_watchers: Callable[[Key, int], None],
        send_end: Callable[[m.OutputEnd], None],
    ) -> None:
        self._output = output
        self._find_attempt = find_attempt
        self._change_watchers = change_watchers
        self._send_end = send_end
        self._transfers: dict[int, _OutgoingTransfer] = {}
        # Transfers that may have data to send. They take turns, one chunk each, so that a large
        # output does not delay the others.
        self._ready: deque[_OutgoingTransfer] = deque()

    def on_message(self, message: m.OutputFetch | m.OutputCredit | m.OutputStop) -> None:
        match message:
            case m.OutputFetch():
                self._open_transfer(message)
            case m.OutputCredit():
                if transfer := self._transfers.get(message.transfer):
                    transfer.credit += message.bytes
                    self._mark_ready(transfer)
            case m.OutputStop():
                if transfer := self._transfers.get(message.transfer):
                    self._close(transfer)

    def on_new_output(self, attempt: AgentAttempt) -> None:
        """Continue the transfers of an attempt that has new output or has ended."""
        for transfer in self._transfers.values():
            if transfer.attempt is attempt:
                transfer.is_size_known = True
                self._mark_ready(transfer)

    def close_all(self) -> None:
        """Close all transfers, after the connection to the master was lost."""
        for transfer in list(self._transfers.values()):
            self._close(transfer)
        self._ready.clear()

    def next_chunk(self) -> bytes | None:
        """Return the next binary frame for the master, with one chunk of a transfer. None if no
        transfer has both data and credit."""
        while self._ready:
            transfer = self._ready.popleft()
            if self._transfers.get(transfer.no) is not transfer or not transfer.is_size_known:
                continue
            if transfer.credit <= 0:
                continue
            size = min(transfer.credit, codec.MAX_CHUNK_BYTES)
            begin, data = self._read(transfer, size)
            if data:
                transfer.offset = begin + len(data)
                transfer.credit -= len(data)
                self._ready.append(transfer)
                return codec.encode_chunk(codec.OutputChunk(transfer.no, begin, data))
            if transfer.attempt.is_output_complete or not transfer.follow:
                self._finish(transfer)
        return None

    def _open_transfer(self, request: m.OutputFetch) -> None:
        number = request.transfer
        attempt = self._find_attempt((request.job, request.n))
        if attempt is None or request.stream not in (1, 2) or number in self._transfers:
            self._send_end(m.OutputEnd(number, GONE))
            return
        if request.kept and not attempt.is_output_complete:
            self._send_end(m.OutputEnd(number, "the attempt has not ended"))
            return
        transfer = self._transfers[number] = _OutgoingTransfer(request, attempt)
        if not attempt.is_output_complete:
            # Request output updates. The reaper answers immediately with the current size.
            transfer.is_watching = True
            self._change_watchers(attempt.key, 1)
        self._mark_ready(transfer)

    def _read(self, transfer: _OutgoingTransfer, size: int) -> tuple[int, bytes]:
        end = transfer.attempt.end
        if end is not None and end.data:
            # The reaper has sent all output with the end, and created no file.
            data = base64.b64decode("".join(end.data[transfer.stream - 1 : transfer.stream]))
            return transfer.offset, data[transfer.offset : transfer.offset + size]
        path = stream_path(self._output, *transfer.attempt.key, transfer.stream)
        if transfer.kept:
            return transfer.offset, read_window(path, transfer.window, transfer.offset, size)
        return read_range(path, transfer.window, transfer.offset, size)

    def _finish(self, transfer: _OutgoingTransfer) -> None:
        self._close(transfer)
        if not transfer.attempt.is_output_complete:
            self._send_end(m.OutputEnd(transfer.no))
            return
        window = transfer.window
        size = window.head + window.tail if transfer.kept else window.written
        # If fewer bytes were read than the reaper reported, the files were deleted or the disk has
        # lost data.
        error = GONE if transfer.offset < size else ""
        self._send_end(m.OutputEnd(transfer.no, error, window.dropped))

    def _close(self, transfer: _OutgoingTransfer) -> None:
        self._transfers.pop(transfer.no, None)
        if transfer.is_watching:
            transfer.is_watching = False
            self._change_watchers(transfer.attempt.key, -1)

    def _mark_ready(self, transfer: _OutgoingTransfer) -> None:
        if transfer not in self._ready:
            self._ready.append(transfer)
