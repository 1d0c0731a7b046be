"""Calls of heartbeat URLs, by which a monitoring service learns that jobs start and end. Pure.

Services such as healthchecks.io take the event as a suffix of the path. Uptime Kuma takes it in the
query, and takes no starts.
"""

from __future__ import annotations

from typing import Final, NamedTuple
from urllib.parse import quote, urlsplit, urlunsplit

START: Final = "start"
SUCCESS: Final = "success"
FAILURE: Final = "failure"
_KUMA_PATH: Final = "/api/push/"


class HeartbeatCall(NamedTuple):
    """A call to make: url, without the event. code: exit code, None if there is none."""

    url: str
    event: str
    job: int
    command: str
    code: int | None = None
    detail: str = ""


def make_call_url(call: HeartbeatCall) -> str:
    """Return the URL to request for a call, "" if the service takes no such event.

    A URL that is invalid gives "": a definition of an older version may have one, and an error here
    would end each turn of the master.
    """
    try:
        parts = urlsplit(call.url)
    except ValueError:
        return ""
    if _KUMA_PATH in parts.path:
        if call.event == START:
            return ""
        state = "up" if call.event == SUCCESS else "down"
        text = quote(call.detail[:200] or "OK", errors="replace")
        return urlunsplit(parts._replace(query=f"status={state}&msg={text}"))
    suffix = {START: "/start", SUCCESS: "", FAILURE: "/fail"}[call.event]
    if call.event == FAILURE and call.code is not None and 0 < call.code < 256:
        suffix = f"/{call.code}"
    return urlunsplit(parts._replace(path=parts.path.rstrip("/") + suffix))
