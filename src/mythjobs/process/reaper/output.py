"""Output of attempts on its way to disk: one thread writes the files of all attempts."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Final

from mythjobs.model.output_window import SMALL_OUTPUT_BYTES, OutputWindow
from mythjobs.process.event_loop import log_exception
from mythjobs.process.native_thread import NativeThread
from mythjobs.process.reaper.output_file import OutputFile

# Maximum number of output bytes, of all streams together, that wait to be written to disk.
_MAX_QUEUED_BYTES: Final = 8 * 2**20
# Longest wait of the event loop for space in the queue. After that it drops output, and does not
# wait again until the disk has taken bytes: a disk that hangs must not block the event loop, which
# enforces limits and leases.
_MAX_WAIT_S: Final = 0.05


class OutputWriter:
    """Writes the output of all attempts to disk, in one thread that is started when needed."""

    def __init__(self) -> None:
        self._sinks: SimpleQueue[OutputSink] = SimpleQueue()
        self._space_freed = threading.Condition()
        self._queued_bytes = 0
        # True if the last wait for space in the queue timed out and nothing was written since then.
        self._is_stalled = False
        self._thread: NativeThread | None = None

    def reserve(self, size: int) -> bool:
        """Reserve space for `size` bytes in the queue of output to write. Wait _MAX_WAIT_S for it;
        return False if the queue stays full."""
        with self._space_freed:
            if not self._has_space(size):
                if not self._is_stalled:
                    self._space_freed.wait_for(
                        lambda: self._queued_bytes < _MAX_QUEUED_BYTES // 2, _MAX_WAIT_S
                    )
                if not self._has_space(size):
                    self._is_stalled = True
                    return False
            self._queued_bytes += size
            return True

    def _has_space(self, size: int) -> bool:
        return not self._queued_bytes or self._queued_bytes + size <= _MAX_QUEUED_BYTES

    def enqueue(self, sink: OutputSink) -> None:
        if self._thread is None and not self._try_to_start():
            # No writer thread can be started: write here. To wait for the disk is better than to
            # lose output.
            self._write(sink)
            return
        self._sinks.put(sink)

    def _try_to_start(self) -> bool:
        thread = NativeThread(self._run)
        try:
            thread.start()
        except RuntimeError:
            return False
        self._thread = thread
        return True

    def _run(self) -> None:
        while True:
            self._write(self._sinks.get())

    def _write(self, sink: OutputSink) -> None:
        try:
            done = sink.write_queued()
        except Exception:
            log_exception()
            return
        with self._space_freed:
            self._queued_bytes -= done
            self._is_stalled = False
            self._space_freed.notify_all()


class OutputSink:
    """Queue of one stream's output for the output writer. `window` has the sizes of what the writer
    has written to disk; `written_bytes` counts the queued bytes too.

    Until release(), up to SMALL_OUTPUT_BYTES are held back in `held`; `window` has them then.
    """

    __slots__ = (
        "_file", "_is_closing", "_lock", "_max_held", "_on_written", "_queue", "_writer", "held",
        "window", "written_bytes",
    )  # fmt: skip

    def __init__(
        self, writer: OutputWriter, file: OutputFile, on_written: Callable[[], None]
    ) -> None:
        """Create the queue for one stream. `on_written` is called in the writer's thread whenever
        the queue becomes empty."""
        self._writer = writer
        self._file = file
        self._on_written = on_written
        self._lock = threading.Lock()
        # Parts of the stream to write: bytes, or the number of bytes that were dropped. None if the
        # writer has written everything.
        self._queue: list[bytes | int] | None = None
        self._is_closing = False
        self.written_bytes = 0
        self.window = OutputWindow(0, 0, 0)
        self._max_held = min(SMALL_OUTPUT_BYTES, file.max_head_bytes)
        self.held = b""

    @property
    def has_queued(self) -> bool:
        return self._queue is not None

    @property
    def is_first_write_pending(self) -> bool:
        """True if there is output to write and none is written. The writer calls `on_written` once
        this has changed."""
        return self.has_queued and not self.window.written

    def write(self, data: memoryview, /) -> None:
        size = len(data)
        self.written_bytes += size
        if self.written_bytes <= self._max_held:
            self.held += bytes(data)
            self.window = OutputWindow(self.written_bytes, self.written_bytes, 0)
            return
        self.release()
        self._enqueue(data)

    def release(self) -> None:
        """Write to disk what is held back, and from now on everything."""
        self._max_held = 0
        if held := self.held:
            self.held, self.window = b"", OutputWindow(0, 0, 0)
            self._enqueue(memoryview(held))

    def _enqueue(self, data: memoryview) -> None:
        size = len(data)
        part: bytes | int = bytes(data) if self._writer.reserve(size) else size
        with self._lock:
            if self._queue is not None:
                self._queue.append(part)
                return
            self._queue = [part]
        self._writer.enqueue(self)

    def write_queued(self) -> int:
        """Write the queued output to disk; return the number of bytes. Runs in the writer's
        thread."""
        done = 0
        if self._is_closing:
            self._file.close()
            return done
        while True:
            with self._lock:
                parts = self._queue
                self._queue = [] if parts else None
            if not parts:
                break
            for part in parts:
                if isinstance(part, int):
                    self._file.drop(part)
                    continue
                done += len(part)
                try:
                    self._file.write(memoryview(part))
                except Exception:
                    # The end of the attempt waits for this thread. The file has counted the bytes.
                    log_exception()
                    self._file.drop(0)
            self.window = self._file.window
        self._on_written()
        return done

    def close(self) -> None:
        """Let the writer's thread close the files. Call only if has_queued is False."""
        if self._file.is_open:
            self._is_closing = True
            self._writer.enqueue(self)
