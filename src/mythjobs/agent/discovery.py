"""Masters on the network that announce themselves by mDNS (RFC 6762)."""

from __future__ import annotations

import threading
from typing import NamedTuple

from zeroconf import ServiceBrowser, ServiceListener, Zeroconf

from mythjobs.errors import Unreachable
from mythjobs.protocol.joining import SERVICE_TYPE, Endpoint

_DETAILS_TIMEOUT_MS = 2000


class FoundMaster(NamedTuple):
    """A master's host name and its addresses. Nothing of it is authenticated."""

    name: str
    endpoints: tuple[Endpoint, ...]


def find_masters(wait_s: float) -> list[FoundMaster]:
    """Return the masters that answer within `wait_s` seconds, by name.

    Raises Unreachable if this machine cannot send to its network.
    """
    try:
        zeroconf = Zeroconf()
    except OSError as error:
        raise Unreachable(
            f"cannot look for masters on the network ({error}); name one: "
            "`mythjobs agent join HOST`"
        ) from None
    collector = _Collector()
    try:
        browser = ServiceBrowser(zeroconf, SERVICE_TYPE, collector)
        threading.Event().wait(wait_s)
        browser.cancel()
        return sorted(collector.found.values())
    finally:
        zeroconf.close()


class _Collector(ServiceListener):
    def __init__(self) -> None:
        self.found: dict[str, FoundMaster] = {}

    def add_service(self, zc: Zeroconf, type_: str, name: str) -> None:
        info = zc.get_service_info(type_, name, _DETAILS_TIMEOUT_MS)
        if info is None or info.port is None:
            return
        endpoints = tuple(Endpoint(each, info.port) for each in info.parsed_addresses())
        self.found[name] = FoundMaster(name.removesuffix(f".{SERVICE_TYPE}"), endpoints)

    def update_service(self, zc: Zeroconf, type_: str, name: str) -> None:
        self.add_service(zc, type_, name)

    def remove_service(self, zc: Zeroconf, type_: str, name: str) -> None:
        self.found.pop(name, None)
