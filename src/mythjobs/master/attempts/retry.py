"""What an end makes of its job: over, again at once, again later, or held. Pure."""

from __future__ import annotations

import errno
import zlib
from typing import Final, NamedTuple

from mythjobs.model import outcome as o
from mythjobs.model.command import RUN, Command
from mythjobs.model.life import JobEvent
from mythjobs.protocol.lease import HOLD

# A job that was lost so often in a row may be what takes its machines down.
MOST_LOSSES: Final = 3
# sysexits.h: a temporary failure, and not one of the command.
EX_TEMPFAIL: Final = 75
# The stop of a machine whose window closed on `terminate`; by `window` alone it is run again.
WINDOW_CLOSED: Final = "window_closed"

_MOST_DOUBLINGS: Final = 10
_LONGEST_BACKOFF_S: Final = 6 * 3600.0
_MOST_QUOTED: Final = 200
_FREE_RETURNS: Final = 3
_LONGEST_RETURN_S: Final = 60.0
# What a start may lack for a while: descriptors, processes, memory, room on a disk.
_SHORT: Final = frozenset(
    (errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM, errno.ENOSPC, errno.EDQUOT)
)
_SHORT_FIRST_S: Final = 10.0
_LONGEST_SHORT_S: Final = 600.0


class Past(NamedTuple):
    """What of an attempt and its job decides about its end."""

    job_id: int
    n: int
    failures: int = 0
    losses: int = 0
    stop_by: str | None = None
    silence: str = ""


class Verdict(NamedTuple):
    """`failed` counts against [retry]; `wait_s` is how long the job waits before it is run
    again, and with `put_off` its whole command waits as long."""

    event: JobEvent
    code: str
    sentence: str
    losses: int = 0
    hold: int = 0
    failed: int = 0
    wait_s: float = 0.0
    put_off: bool = False


def judge(outcome: o.Outcome, command: Command, past: Past, later: str = "") -> Verdict:
    """`later` is what the command's expression for "try later" found in its output.

    A stop that was asked for decides unless it came too late.
    """
    said = o.sentence(outcome)
    match outcome:
        case o.Exited(code) if code in command.success:
            return Verdict(JobEvent.SUCCEEDED, "", "")
        case _ if past.stop_by is not None:
            return Verdict(JobEvent.CANCELLED, "cancelled", f"cancelled by {past.stop_by}; {said}")
        case o.Lost():
            return _lost(past, said)
        case o.Stopped(by):
            return _stopped(by, past, said)
        case o.NotStarted(number, _) if number in _SHORT:
            return _short(past, said)
        case _:
            return _failed(outcome, command, past, later, said)


def returned(past: Past, why: str, *, at_once: bool = False) -> Verdict:
    """Never started, and its machine has sworn never to: queued again at no cost. at_once: however
    often."""
    if past.stop_by is not None:
        return Verdict(JobEvent.CANCELLED, "cancelled", f"cancelled by {past.stop_by}; {why}")
    # A machine may give back at once whatever it is given, for a reason that only it knows (a
    # zone it has no rules of): then the two would do nothing else.
    again = past.n - _FREE_RETURNS
    waits = again >= 0 and not at_once
    wait_s = min(backoff_s(1.0, again, past), _LONGEST_RETURN_S) if waits else 0.0
    return Verdict(JobEvent.RETURNED, "again", why, losses=past.losses, wait_s=wait_s)


def as_paused(verdict: Verdict) -> Verdict:
    """Of one that its user had made stand still: it does not go on by itself elsewhere."""
    sentence = f"{verdict.sentence}; held, because it was paused; `mythjobs release` runs it again"
    return verdict._replace(hold=1, code="held", sentence=sentence)


def _short(past: Past, said: str) -> Verdict:
    """Its machine was short of something; the job is not at fault, and did not run."""
    wait_s = min(backoff_s(_SHORT_FIRST_S, past.n - 1, past), _LONGEST_SHORT_S)
    sentence = f"{said}; its machine was short of that, so it is tried again"
    return Verdict(JobEvent.REQUEUED, "again", sentence, losses=past.losses, wait_s=wait_s)


def _lost(past: Past, said: str) -> Verdict:
    losses = past.losses + 1
    if losses >= MOST_LOSSES:
        sentence = f"lost {losses} times in a row, so it is held; {said}"
        return Verdict(JobEvent.REQUEUED, "lost_often", sentence, losses, hold=1)
    if past.silence == HOLD:
        return Verdict(JobEvent.REQUEUED, "lost", _held(said), losses, hold=1)
    return Verdict(JobEvent.REQUEUED, "again", said, losses)


def _stopped(by: str, past: Past, said: str) -> Verdict:
    if by == WINDOW_CLOSED:
        sentence = "ended by its machine when its window closed"
        return Verdict(JobEvent.FAILED, WINDOW_CLOSED, sentence)
    if by == "lease" and past.silence == HOLD:
        return Verdict(JobEvent.REQUEUED, "lost", _held(said), hold=1)
    # Nobody asked for the job's end: it was its machine's, its hours', or an owner's who
    # stopped all.
    return Verdict(JobEvent.REQUEUED, "again", said)


def _held(said: str) -> str:
    return f"{said}; held, because its command says so; `mythjobs release` runs it again"


def _failed(outcome: o.Outcome, command: Command, past: Past, later: str, said: str) -> Verdict:
    retry = command.retry
    if later:
        wait_s = backoff_s(retry.backoff_s, past.n - 1 - past.failures, past)
        sentence = f'its output says "{later[:_MOST_QUOTED]}" ({said}); {command.name} is put off'
        return Verdict(JobEvent.REQUEUED, "later", sentence, wait_s=wait_s, put_off=True)
    # Whoever typed `mythjobs run` waits for the code, not for another time.
    if outcome == o.Exited(EX_TEMPFAIL) and command.name != RUN:
        wait_s = backoff_s(retry.backoff_s, past.n - 1 - past.failures, past)
        sentence = f"says to try it later ({said})"
        return Verdict(JobEvent.REQUEUED, "later", sentence, wait_s=wait_s)
    kind = str(o.to_json(outcome)["kind"])
    budget, counts = retry.failures, kind in retry.on
    if isinstance(outcome, o.Breached) and command.on_breach:
        if command.on_breach == "hold":
            sentence = f"{said}; held, `mythjobs release` runs it again"
            return Verdict(JobEvent.REQUEUED, "breached", sentence, hold=1)
        counts = command.on_breach == "retry"
        # Who asks for a retry and names no number means one.
        budget = max(budget, 1)
    if counts and past.failures < budget:
        wait_s = backoff_s(retry.backoff_s, past.failures, past)
        sentence = f"{said}; failure {past.failures + 1}, run again up to {budget} times"
        return Verdict(JobEvent.REQUEUED, "retry", sentence, failed=1, wait_s=wait_s)
    return Verdict(JobEvent.FAILED, kind, said, failed=1)


def backoff_s(first_s: float, before: int, past: Past) -> float:
    """Twice as long each time, and up to a quarter more or less, so that jobs that failed
    together do not come again together. The same (job, n) waits equally long everywhere."""
    wait_s = first_s * 2.0 ** min(max(before, 0), _MOST_DOUBLINGS)
    wait_s = min(wait_s, max(first_s, _LONGEST_BACKOFF_S))
    share = zlib.crc32(b"%d.%d" % (past.job_id, past.n)) / 2**32
    return wait_s * (0.75 + share / 2)
