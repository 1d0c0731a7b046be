"""Public names of MythSystem, a library that starts programs, reads and writes their streams,
enforces limits, terminates process trees and measures their usage.

It needs only Python's standard library.
"""

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
from mythjobs.process.library.api import ALL, BUFFERED, INHERIT, MERGED, NULL, PIPE, MythSystem
from mythjobs.process.library.buffer import Buffer
from mythjobs.process.library.communicate import Output
from mythjobs.process.library.done import Done, ProgramFailed
from mythjobs.process.library.handle import Process, Stopping
from mythjobs.process.library.pipes import Reader, Writer

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
    "Output",
    "Process",
    "ProgramFailed",
    "Reader",
    "Signalled",
    "Stopped",
    "Stopping",
    "Usage",
    "Writer",
]
