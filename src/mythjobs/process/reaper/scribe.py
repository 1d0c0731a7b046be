"""Writing output to disk in a thread of its own: a disk that is slow holds up nobody else."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Final

from mythjobs.model.output_window import Kept
from mythjobs.process.reaper.output import Spool
from mythjobs.process.supervise.loop import log_exception

# So much may wait to be written, of all streams together.
_MOST_BYTES: Final = 8 * 2**20
# Then whoever brings more waits for so long, and what finds no room even so is dropped: a
# disk that hangs must not stop the loop, which holds children to their limits and leases.
_PATIENCE_S: Final = 0.05


class Scribe:
    """One thread for all streams of a process; it is started with the first byte."""

    def __init__(self) -> None:
        self._work: SimpleQueue[Written] = SimpleQueue()
        self._room = threading.Condition()
        self._waiting_bytes = 0
        self._thread: threading.Thread | None = None

    def has_room(self, size: int) -> bool:
        """Claims it. False if the disk does not take what is there already."""
        with self._room:
            if self._waiting_bytes and self._waiting_bytes + size > _MOST_BYTES:
                self._room.wait_for(lambda: self._waiting_bytes < _MOST_BYTES // 2, _PATIENCE_S)
            if self._waiting_bytes and self._waiting_bytes + size > _MOST_BYTES:
                return False
            self._waiting_bytes += size
            return True

    def write(self, stream: Written) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._serve, name="scribe", daemon=True)
            self._thread.start()
        self._work.put(stream)

    def _serve(self) -> None:
        while True:
            stream = self._work.get()
            try:
                done = stream.write_out()
            except Exception:
                log_exception()
                continue
            with self._room:
                self._waiting_bytes -= done
                self._room.notify_all()


class Written:
    """A stream whose bytes go through the scribe to its spool. `written` is what came in,
    `kept` what is on the disk."""

    __slots__ = ("_lock", "_parts", "_scribe", "_spool", "_then", "kept", "written")

    def __init__(self, scribe: Scribe, spool: Spool, then: Callable[[], None]) -> None:
        """`then` is called in the scribe's thread each time that all is written."""
        self._scribe = scribe
        self._spool = spool
        self._then = then
        self._lock = threading.Lock()
        # Bytes to be written, numbers of bytes that were dropped; None while all is written.
        self._parts: list[bytes | int] | None = None
        self.written = 0
        self.kept = Kept(0, 0, 0)

    @property
    def busy(self) -> bool:
        return self._parts is not None

    def write(self, data: memoryview, /) -> None:
        size = len(data)
        self.written += size
        part: bytes | int = bytes(data) if self._scribe.has_room(size) else size
        with self._lock:
            if self._parts is not None:
                self._parts.append(part)
                return
            self._parts = [part]
        self._scribe.write(self)

    def write_out(self) -> int:
        """In the scribe's thread. How many bytes wait no more."""
        done = 0
        while True:
            with self._lock:
                parts = self._parts
                self._parts = [] if parts else None
            if not parts:
                break
            for part in parts:
                if isinstance(part, int):
                    self._spool.lose(part)
                else:
                    self._spool.write(memoryview(part))
                    done += len(part)
            self.kept = self._spool.kept
        self._then()
        return done

    def close(self) -> None:
        """Not while it is busy."""
        self._spool.close()
