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

__all__ = [
    "Breached",
    "Exited",
    "Limits",
    "Lost",
    "NotStarted",
    "Outcome",
    "Signalled",
    "Stopped",
    "Usage",
]
