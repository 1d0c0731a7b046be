"""The signal of a terminal that was closed."""

from __future__ import annotations

import signal


def hangup_signals() -> tuple[signal.Signals, ...]:
    """To be taken for SIGTERM; none where it is ignored (nohup(1))."""
    ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return () if ignored else (signal.SIGHUP,)
