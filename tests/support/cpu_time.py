"""CPU time of a piece of code, without that of the process around it."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def cpu_limit(seconds: float) -> Iterator[None]:
    """Assert that the block takes less CPU time of this thread.

    Other threads do not count, nor do garbage collections: one takes half a second in the process
    of the whole test suite.
    """
    gc.disable()
    begin_s = time.thread_time()
    try:
        yield
        used_s = time.thread_time() - begin_s
    finally:
        gc.enable()
    assert used_s < seconds
