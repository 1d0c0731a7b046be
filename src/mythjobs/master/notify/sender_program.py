"""Program that sends messages: a child process of the master, with one thread for each message.

It reads requests from stdin, one JSON object a line, and writes one result a line to stdout:
`{"id", "op": "send", "url", "title", "body", "level"}`, `{"id", "op": "check", "url"}` or
`{"id", "op": "call", "url"}`; the result is `{"id", "error", "shown", "took_s"}`, with the seconds
that the service took. A process of its own keeps the time and the memory that the libraries need
out of the master, and can be killed if one hangs. It ends at the end of its input.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import threading
import time
import urllib.error
import urllib.request
from base64 import b64encode
from contextvars import ContextVar
from typing import Any, Final, TextIO
from urllib.parse import unquote, urlsplit, urlunsplit

CALL_TIMEOUT_S: Final = 10.0
_MAX_ERROR: Final = 300
# Schemes whose host names a server. In others the place of the host may have a secret.
_HOST_SCHEMES: Final = frozenset(
    ("form", "forms", "gotify", "gotifys", "json", "jsons", "mailto", "mailtos", "ntfy", "ntfys",
     "xml", "xmls")
)  # fmt: skip
# Begin of apprise's messages, of level DEBUG, that name the cause of a warning.
_CAUSE: Final = "Socket Exception: "
_ERRNO: Final = re.compile(r"\[Errno -?\d+\] ([^\"')]+)")
_write_lock = threading.Lock()
_import_lock = threading.Lock()


def main() -> None:
    _keep_errors()
    # Results go to the pipe, whatever a library prints to stdout.
    results = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for line in sys.stdin:
        request = json.loads(line)
        threading.Thread(target=_serve, args=(request, results), daemon=True).start()


def _serve(request: dict[str, Any], results: TextIO) -> None:
    shown, took_s = "", 0.0
    try:
        match request["op"]:
            case "send":
                error, took_s = _send(request)
            case "check":
                shown, error = _check(request["url"])
            case "call":
                begin_s = time.monotonic()
                error = _call(request["url"])
                took_s = time.monotonic() - begin_s
            case op:
                error = f"unknown request {op}"
    except Exception as failure:
        error = f"{type(failure).__name__}: {failure}"
    try:
        error = remove_secrets(error, request["url"])[:_MAX_ERROR]
    except ValueError:
        error = "the URL is not valid"
    fields = {"id": request["id"], "error": error, "shown": shown, "took_s": took_s}
    line = json.dumps(fields)
    with _write_lock:
        results.write(line + "\n")
        results.flush()


def _load_apprise() -> Any:
    # The first import takes 0.2 s; two threads at once would see half of the module.
    with _import_lock:
        import apprise

        return apprise


def _send(request: dict[str, Any]) -> tuple[str, float]:
    """Send a message. Return why it was not sent, "" if it was, and the seconds that took.

    Importing apprise and its plugins, which takes seconds on a busy machine, is not part of them.
    """
    apprise = _load_apprise()
    asset = apprise.AppriseAsset(
        app_id="mythjobs",
        app_desc="mythjobs notifications",
        app_url="",
        image_url_mask="",
        image_url_logo="",
    )
    service = apprise.Apprise.instantiate(request["url"], asset=asset, suppress_exceptions=True)
    if service is None:
        return "the URL is not valid", 0.0
    sender = apprise.Apprise(asset=asset)
    sender.add(service)
    errors: list[str] = []
    _warnings.set(errors)
    begin_s = time.monotonic()
    sent = sender.notify(
        title=request["title"],
        body=request["body"],
        notify_type=request["level"],
        body_format=apprise.NotifyFormat.TEXT,
    )
    took_s = time.monotonic() - begin_s
    return "" if sent else "; ".join(errors) or "the service did not accept the message", took_s


def _check(url: str) -> tuple[str, str]:
    """Return a URL without its secrets, and why it is invalid, "" if it is valid."""
    apprise = _load_apprise()
    if apprise.Apprise.instantiate(url, suppress_exceptions=True) is None:
        return "", "the URL is not valid"
    return hide_secrets(url), ""


def hide_secrets(url: str) -> str:
    """Return a URL for display: its scheme, and the host if that is the name of a server."""
    parts = urlsplit(url)
    host = ""
    # In ntfy://TOPIC the topic, which must stay secret, is in the place of the host.
    is_topic = parts.scheme.startswith("ntfy") and not parts.path.strip("/")
    if parts.scheme.lower() in _HOST_SCHEMES and parts.hostname and not is_topic:
        host = parts.hostname + (f":{parts.port}" if parts.port else "")
    return f"{parts.scheme}://{host}/…" if host else f"{parts.scheme}://…"


def remove_secrets(text: str, url: str) -> str:
    """Return a text in which nothing of a URL is readable but its scheme and host."""
    parts = urlsplit(url)
    found = {url, *re.split(r"[/?&=:@,;]+", url), *re.split(r"[/?&=:@,;]+", unquote(url))}
    public = {parts.scheme, *re.split(r"[:@]", hide_secrets(url).partition("://")[2].split("/")[0])}
    for secret in sorted(found - public, key=len, reverse=True):
        if len(secret) >= 4:
            text = text.replace(secret, "…")
    return text


def _call(url: str) -> str:
    """Request a heartbeat URL. Return why that failed, "" if it did not."""
    # urllib takes user and password for a part of the host's name.
    parts = urlsplit(url)
    login, _, host = parts.netloc.rpartition("@")
    url = urlunsplit(parts._replace(netloc=host))
    request = urllib.request.Request(url, headers={"User-Agent": "mythjobs"})
    if login:
        value = f"Basic {b64encode(unquote(login).encode()).decode()}"
        # Not to the server that a redirection names.
        request.add_unredirected_header("Authorization", value)
    try:
        with urllib.request.urlopen(request, timeout=CALL_TIMEOUT_S) as response:
            response.read(1000)
            return ""
    except urllib.error.HTTPError as error:
        return f"the service answered {error.code} {error.reason}"
    except urllib.error.URLError as error:
        return str(error.reason)
    except OSError as error:
        return str(error)


# Warnings of apprise about the message of the current context. Apprise passes the context on to the
# threads in which it works.
_warnings: ContextVar[list[str] | None] = ContextVar("warnings", default=None)


class _ErrorHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        text, warnings = record.getMessage(), _warnings.get()
        if warnings is None:
            return
        if record.levelno >= logging.WARNING:
            warnings.append(text)
        elif text.startswith(_CAUSE):
            found = _ERRNO.search(text)
            warnings.append(found[1] if found else text.removeprefix(_CAUSE))


def _keep_errors() -> None:
    """Keep apprise's warnings, which say why a message was not sent, and write no log."""
    logger = logging.getLogger("apprise")
    logger.addHandler(_ErrorHandler())
    logger.setLevel(logging.DEBUG)
    logger.propagate = False


if __name__ == "__main__":
    main()
