"""Set-up of the logs of master and agent: format, and priorities for journald."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from typing import Final

from mythjobs.errors import ConfigError
from mythjobs.model.log_line import (
    FORMATS,
    LOGFMT,
    TEXT,
    VARIABLE,
    LogEvent,
    format_event,
    is_journal,
)

# Names that the `extra` of a call may have: fields of the event.
FIELDS: Final = (
    "address", "channel", "connection", "error", "job", "kind", "machine", "pid", "store", "title",
    "version",
)  # fmt: skip


class EventFormatter(logging.Formatter):
    """Formats records of Python's logging as lines of the log."""

    def __init__(self, program: str, style: str, *, journal: bool) -> None:
        super().__init__()
        self._program = program
        self._line_style = style
        self._journal = journal

    def format(self, record: logging.LogRecord) -> str:
        found = vars(record)
        event = LogEvent(
            record.created,
            self._program,
            record.levelname.lower(),
            record.getMessage(),
            {name: found[name] for name in FIELDS if found.get(name) is not None},
            self.formatException(record.exc_info) if record.exc_info else "",
        )
        return format_event(event, self._line_style, journal=self._journal)


def set_up_logging(program: str, environ: Mapping[str, str] = os.environ) -> None:
    """Log events from level INFO on to stderr, in the format that the environment names.

    The default is text, and logfmt in the journal. Raises ConfigError for an unknown format.
    """
    journal = _is_stderr_journal(environ)
    style = environ.get(VARIABLE) or (LOGFMT if journal else TEXT)
    if style not in FORMATS:
        raise ConfigError(f'{VARIABLE}="{style}" is none of {", ".join(FORMATS)}')
    handler = logging.StreamHandler()
    handler.setFormatter(EventFormatter(program, style, journal=journal))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    for noisy in ("alembic", "uvicorn", "websockets"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _is_stderr_journal(environ: Mapping[str, str]) -> bool:
    try:
        facts = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError, AttributeError):
        return False
    return is_journal(environ.get("JOURNAL_STREAM", ""), facts.st_dev, facts.st_ino)
