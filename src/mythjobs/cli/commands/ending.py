"""What `mythjobs run` exits with, from how its job ended."""

from __future__ import annotations

import signal
from typing import Final

from mythjobs.cli.waiting import get_reason
from mythjobs.client.client import Json
from mythjobs.model.outcome import (
    Breached,
    Exited,
    Lost,
    NotStarted,
    Signalled,
    Stopped,
    describe,
    from_json,
)

# As env(1) and timeout(1) have them.
TIMED_OUT: Final = 124
NOT_STARTED: Final = 125
# It was ended from outside: as a program that SIGTERM ended.
STOPPED: Final = 128 + signal.SIGTERM
# Its end was not seen; it may be tried again (EX_TEMPFAIL).
LOST: Final = 75


def get_exit_code(job: Json) -> tuple[int, str]:
    """The code, and a sentence where the program did not end by itself."""
    said = job["attempts"][-1]["outcome"] if job["attempts"] else None
    if said is None:
        return NOT_STARTED, f"job {job['id']} was not started: {get_reason(job) or job['state']}"
    outcome = from_json(said)
    words = f"job {job['id']}: {describe(outcome)}"
    match outcome:
        case Exited(code):
            return code, ""
        case Signalled(number):
            return 128 + number, ""
        case Breached():
            return TIMED_OUT, words
        case NotStarted():
            return NOT_STARTED, words
        case Stopped():
            return STOPPED, words
        case Lost():
            return LOST, words
