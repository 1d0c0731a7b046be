"""`mythjobs` with heartbeats every half second and leases of seconds: partitions in their true
proportions, in a tenth of the time or less."""

from __future__ import annotations

import sys
from typing import Any, Final

import msgspec

from mythjobs.__main__ import main
from mythjobs.master.link import server
from mythjobs.model import command
from mythjobs.protocol import lease_timing

HEARTBEAT_S: Final = 0.5
SILENCE_S: Final = 3 * HEARTBEAT_S

_make_welcome = server.LinkServer._make_welcome


def _make_fast_welcome(*arguments: Any) -> Any:
    return msgspec.structs.replace(_make_welcome(*arguments), heartbeat_s=HEARTBEAT_S)


def shorten() -> None:
    patched: Any = server.LinkServer
    patched._make_welcome = _make_fast_welcome
    server.SILENCE_TIMEOUT_S = SILENCE_S  # type: ignore[misc]
    command.MIN_LEASE_S = 1.0  # type: ignore[misc]
    lease_timing.EXPIRY_MARGIN_S = 0.5  # type: ignore[misc]


if __name__ == "__main__":
    shorten()
    sys.exit(main())
