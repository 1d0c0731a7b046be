"""Log of what the network port refuses, bounded however much is tried."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

_INTERVAL_S: Final = 60.0
# Number of addresses and causes that are counted apart; further addresses are counted together.
_MAX_KEYS: Final = 16
_OTHERS: Final = ("other addresses", "several causes")
_MAX_CAUSE: Final = 300

log = logging.getLogger(__name__)


class RefusalLog:
    """Logs the first refusal of an address for a cause at once, and the number of the following
    ones after a minute."""

    def __init__(self, interval_s: float = _INTERVAL_S) -> None:
        self._interval_s = interval_s
        self._repeats: dict[tuple[str, str], int] = {}

    def add(self, address: str, cause: str) -> None:
        # A cause may contain what the other side has sent.
        text = "".join(each if each.isprintable() else "?" for each in cause[:_MAX_CAUSE])
        key = address, text
        if key not in self._repeats and len(self._repeats) >= _MAX_KEYS:
            key = _OTHERS
        if key in self._repeats:
            self._repeats[key] += 1
            return
        self._repeats[key] = 0
        log.warning("refused %s: %s", *key, extra={"address": key[0]})
        asyncio.get_running_loop().call_later(self._interval_s, self._report_repeats, key)

    def _report_repeats(self, key: tuple[str, str]) -> None:
        count = self._repeats.pop(key)
        if count:
            address, cause = key
            times = "once" if count == 1 else f"{count} times"
            text = "refused %s again, %s in %g s: %s"
            log.warning(text, address, times, self._interval_s, cause, extra={"address": address})
