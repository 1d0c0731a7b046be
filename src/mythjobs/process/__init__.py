"""Children: starting, draining, limiting, ending and reaping them. Standard library only."""

from mythjobs.model.limits import Limits, Usage
from mythjobs.model.outcome import (
    Breached,
    Exited,
    Lost,
    NotStarted,
    Outcome,
    Signalled,
    Stopped,
)
from mythjobs.process.buffer import Buffer
from mythjobs.process.pipes import Reader, Writer
from mythjobs.process.process import Done, Process, Stopping
from mythjobs.process.system import (
    ALL,
    BUFFERED,
    INHERIT,
    MERGED,
    NULL,
    PIPE,
    MythSystem,
)

__all__ = [
    "ALL",
    "BUFFERED",
    "INHERIT",
    "MERGED",
    "NULL",
    "PIPE",
    "Breached",
    "Buffer",
    "Done",
    "Exited",
    "Limits",
    "Lost",
    "MythSystem",
    "NotStarted",
    "Outcome",
    "Process",
    "Reader",
    "Signalled",
    "Stopped",
    "Stopping",
    "Usage",
    "Writer",
]
