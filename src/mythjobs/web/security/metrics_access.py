"""Access to metrics: a token of their own, which permits nothing else."""

from __future__ import annotations

import hmac
from typing import Final

from mythjobs.config.state import StateDir
from mythjobs.config.tokens import read_metrics_token
from mythjobs.web.security.access import AccessHeaders
from mythjobs.web.server.errors import Scope

METRICS_PATH: Final = "/metrics"


class MetricsAccess:
    """Admits a request for metrics with the token of `mythjobs metrics token`."""

    def __init__(self, state: StateDir) -> None:
        self._state = state

    def admits(self, scope: Scope, headers: AccessHeaders) -> bool:
        """Return whether a request is one for metrics, and has the metrics token.

        The token's file is read for each such request: a new token applies at once.
        """
        if scope["type"] != "http" or scope["path"] != METRICS_PATH:
            return False
        if scope["method"] not in ("GET", "HEAD") or not headers.bearer:
            return False
        token = read_metrics_token(self._state)
        return bool(token) and hmac.compare_digest(headers.bearer, token.encode())
