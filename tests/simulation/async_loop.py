"""asyncio event loop on simulated time, for the coroutines of the master's process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class Process(Protocol):
    """The process whose event loop this is."""

    def steady_ms(self) -> int: ...
    def call_later(self, delay_ms: int, function: Callable[..., None], *args: Any) -> None: ...


class SimEventLoop(asyncio.AbstractEventLoop):
    """Runs tasks, futures and timers; no file descriptors, threads or signals.

    on_error is called with exceptions of callbacks and of tasks that nobody awaits.
    """

    def __init__(self, process: Process, on_error: Callable[[BaseException], None]) -> None:
        self._process = process
        self._on_error = on_error

    def time(self) -> float:
        return self._process.steady_ms() / 1000

    def get_debug(self) -> bool:
        return False

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(  # type: ignore[override]  # without a name
        self, coroutine: Coroutine[Any, Any, T], *, context: Context | None = None
    ) -> asyncio.Task[T]:
        return asyncio.Task(coroutine, loop=self, context=context)

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._process.call_later(0, self._run, handle)
        return handle

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:  # fmt: skip
        handle = asyncio.TimerHandle(self.time() + delay, callback, args, self, context)
        self._process.call_later(round(1000 * delay), self._run, handle)
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Do nothing: a cancelled handle is skipped when its time comes."""

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        # Without an exception: a task of a killed process was garbage collected.
        if (error := context.get("exception")) is not None:
            self._on_error(error)

    def _run(self, handle: asyncio.Handle) -> None:
        if handle.cancelled():
            return
        asyncio._set_running_loop(self)
        try:
            handle._run()
        finally:
            asyncio._set_running_loop(None)
