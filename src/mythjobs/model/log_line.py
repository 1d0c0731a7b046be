"""Lines of logs: one line for each event, as text, logfmt or JSON. Pure; only the standard library,
because the reaper writes its log with it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from time import gmtime, localtime, strftime
from typing import Final, NamedTuple

TEXT: Final = "text"
LOGFMT: Final = "logfmt"
JSON: Final = "json"
FORMATS: Final = (TEXT, LOGFMT, JSON)
# Environment variable with the format, which child processes inherit.
VARIABLE: Final = "MYTHJOBS_LOG_FORMAT"
# Priorities of syslog(3) by level; journald takes them from a prefix (sd-daemon(3)).
_PRIORITIES: Final = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}


class LogEvent(NamedTuple):
    """One event. at_s: seconds since 1970. program: master, agent or reaper. level: as in Python's
    logging, in small letters. fields: what the event is about, like {"job": 12}.

    traceback: of the exception that caused the event, "" if there is none.
    """

    at_s: float
    program: str
    level: str
    message: str
    fields: Mapping[str, object] = {}
    traceback: str = ""


def format_event(event: LogEvent, style: str, *, journal: bool = False) -> str:
    """Return an event in a format of FORMATS, without a line break at its end.

    Only as text it may have more than one line, those of a traceback. journal: for stderr that is
    read by journald, which adds the time itself: with the priority before each line.
    """
    if style == JSON:
        text = _format_json(event)
    elif style == LOGFMT:
        text = _format_logfmt(event, has_time=not journal)
    else:
        text = _format_text(event, has_time=not journal)
    if not journal:
        return text
    priority = _PRIORITIES.get(event.level, 6)
    return "\n".join(f"<{priority}>{line}" for line in text.split("\n"))


def _format_text(event: LogEvent, *, has_time: bool) -> str:
    time = ""
    if has_time:
        local = strftime("%Y-%m-%d %H:%M:%S", localtime(event.at_s))
        time = f"{local},{int(event.at_s % 1 * 1000):03} "
    traceback = f"\n{event.traceback}" if event.traceback else ""
    return f"{time}{event.program}: {event.message}{traceback}"


def _format_logfmt(event: LogEvent, *, has_time: bool) -> str:
    pairs: dict[str, object] = {"ts": _format_utc(event.at_s)} if has_time else {}
    pairs |= {"level": event.level, "program": event.program, "msg": event.message}
    pairs |= event.fields
    if event.traceback:
        pairs["traceback"] = event.traceback
    return " ".join(f"{key}={_quote(value)}" for key, value in pairs.items())


def _quote(value: object) -> str:
    text = str(value)
    if text and text.isprintable() and not any(c in text for c in ' ="\\'):
        return text
    return json.dumps(text, ensure_ascii=False)


def _format_json(event: LogEvent) -> str:
    pairs: dict[str, object] = {
        "ts": _format_utc(event.at_s),
        "level": event.level,
        "program": event.program,
        "msg": event.message,
        **event.fields,
    }
    if event.traceback:
        pairs["traceback"] = event.traceback
    return json.dumps(pairs, ensure_ascii=False, default=str)


def _format_utc(at_s: float) -> str:
    return f"{strftime('%Y-%m-%dT%H:%M:%S', gmtime(at_s))}.{int(at_s % 1 * 1000):03}Z"


def is_journal(journal_stream: str, device: int, inode: int) -> bool:
    """Return whether a file is the journal's: journal_stream is the variable JOURNAL_STREAM, in
    which systemd names the file that stderr was at the start of the service (systemd.exec(5))."""
    return journal_stream == f"{device}:{inode}"
