"""Announcement of the master by mDNS (RFC 6762), so that `mythjobs agent join` can list it.

It names an address, and proves nothing: machines join by a token or by six words.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mythjobs.protocol.joining import SERVICE_TYPE, Endpoint

if TYPE_CHECKING:
    from zeroconf.asyncio import AsyncZeroconf

log = logging.getLogger(__name__)


class Announcement:
    """Announces one master while it listens on the network."""

    def __init__(self) -> None:
        self._zeroconf: AsyncZeroconf | None = None

    async def start(self, endpoints: Sequence[Endpoint]) -> None:
        """Announce the endpoints. A failure is logged: machines can still join by address."""
        # The import takes 60 ms, which only masters on the network pay.
        from zeroconf import Error, ServiceInfo
        from zeroconf.asyncio import AsyncZeroconf

        await self.stop()
        if not endpoints:
            return
        host = socket.gethostname().partition(".")[0] or "mythjobs"
        info = ServiceInfo(
            SERVICE_TYPE,
            f"{host}.{SERVICE_TYPE}",
            port=endpoints[0].port,
            parsed_addresses=[each.host for each in endpoints],
            server=f"{host}.local.",
        )
        try:
            self._zeroconf = AsyncZeroconf()
            await self._zeroconf.async_register_service(info, allow_name_change=True)
        except (OSError, Error) as error:
            log.warning("cannot announce this master on the network: %s", error)
            await self.stop()

    async def stop(self) -> None:
        if self._zeroconf is not None:
            zeroconf, self._zeroconf = self._zeroconf, None
            await zeroconf.async_close()
