"""Public names of MythSystem, a library that starts programs, reads and writes their streams,
enforces limits, terminates process trees and measures their usage.

It needs only Python's standard library.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Final

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

if TYPE_CHECKING:
    from mythjobs.process.library.api import (
        ALL,
        BUFFERED,
        INHERIT,
        MERGED,
        NULL,
        PIPE,
        MythSystem,
    )
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

# The library is imported when one of its names is first used. Agent and reaper use other modules
# of this package, and each of them would need 2 MB more.
_MODULES: Final = {
    "api": ("ALL", "BUFFERED", "INHERIT", "MERGED", "NULL", "PIPE", "MythSystem"),
    "buffer": ("Buffer",),
    "communicate": ("Output",),
    "done": ("Done", "ProgramFailed"),
    "handle": ("Process", "Stopping"),
    "pipes": ("Reader", "Writer"),
}


def __getattr__(name: str) -> object:
    for module, names in _MODULES.items():
        if name in names:
            found: object = getattr(import_module(f"{__name__}.library.{module}"), name)
            globals()[name] = found
            return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
