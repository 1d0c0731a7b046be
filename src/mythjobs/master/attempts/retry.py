"""Retry decisions: whether a job ends, runs again at once or later, or is held.

Pure functions.
"""

from __future__ import annotations

import errno
import zlib
from typing import Final, NamedTuple

from mythjobs.model import outcome as o
from mythjobs.model.command import RUN, Command
from mythjobs.model.life import LOST_OFTEN, JobEvent
from mythjobs.model.silence import HOLD

# Losses in a row after which a job is held, because the job may be what crashes its machines.
MAX_LOSSES: Final = 3
# Exit code (sysexits.h) for a temporary failure: the command asks to be run again later.
EX_TEMPFAIL: Final = 75
# Source of a stop (`by`) when a run window with `closing = "terminate"` closes: the job fails.
# With `closing = "requeue"` the source is "window", and the job runs again.
WINDOW_CLOSED: Final = "window_closed"

_MAX_DOUBLINGS: Final = 10
_MAX_BACKOFF_S: Final = 6 * 3600.0
_MAX_QUOTED: Final = 200
_FREE_RETURNS: Final = 3
_MAX_RETURN_DELAY_S: Final = 60.0
# errno of a failed start that means a shortage of descriptors, processes, memory or disk space.
# A shortage may pass, so the job is tried again.
_SHORTAGES: Final = frozenset(
    (errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM, errno.ENOSPC, errno.EDQUOT)
)
_FIRST_SHORTAGE_DELAY_S: Final = 10.0
_MAX_SHORTAGE_DELAY_S: Final = 600.0


class AttemptHistory(NamedTuple):
    """Facts about an attempt and its job that a retry decision depends on.

    n: attempt number.
    starts_once: the job must not start again after its attempt was lost or stopped.
    """

    job_id: int
    n: int
    failures: int = 0
    losses: int = 0
    stop_requested_by: str | None = None
    silence: str = ""
    starts_once: bool = False


class RetryDecision(NamedTuple):
    """Decision about a job whose attempt has ended: the job's event, and the reason for users.

    losses: number of the job's last attempts that were lost in a row.
    failed: 1 if the attempt counts as a failure against the command's [retry] table.
    wait_s: delay before the next attempt; with `defers_command`, before any job of the command.
    """

    event: JobEvent
    reason_code: str
    reason: str
    losses: int = 0
    hold: int = 0
    failed: int = 0
    wait_s: float = 0.0
    defers_command: bool = False


def decide(
    outcome: o.Outcome, command: Command, history: AttemptHistory, later_match: str = ""
) -> RetryDecision:
    """Decide whether the job of an ended attempt ends, runs again, or is held.

    later_match: text in the output that the command's `later` expression matched, or "".
    If a user asked to stop the job, it is cancelled, unless the attempt succeeded.
    """
    description = o.describe(outcome)
    match outcome:
        case o.Exited(code) if code in command.success:
            return RetryDecision(JobEvent.SUCCEEDED, "", "")
        case _ if history.stop_requested_by is not None:
            return _cancelled(history.stop_requested_by, description)
        case o.Lost() | o.Stopped() if history.starts_once:
            kind = str(o.to_json(outcome)["kind"])
            reason = f"{description}; an ad-hoc run is started again only with --retry"
            return RetryDecision(JobEvent.FAILED, kind, reason)
        case o.Lost():
            return _lost(history, description)
        case o.Stopped(by):
            return _stopped(by, history, description)
        case o.NotStarted(number, _) if number in _SHORTAGES:
            return _machine_shortage(history, description)
        case _:
            return _failed(outcome, command, history, later_match, description)


def decide_returned(history: AttemptHistory, why: str, *, at_once: bool = False) -> RetryDecision:
    """Decide to queue a job again whose attempt its machine durably marked never-start.

    at_once: queue the job without a delay, whatever the number of its attempts.
    """
    if history.stop_requested_by is not None:
        return _cancelled(history.stop_requested_by, why)
    # A machine may return every grant at once for a reason of its own (say, an unknown time zone).
    # From attempt _FREE_RETURNS on, a growing delay keeps master and machine from looping.
    again = history.n - _FREE_RETURNS
    waits = again >= 0 and not at_once
    wait_s = min(backoff_s(1.0, again, history), _MAX_RETURN_DELAY_S) if waits else 0.0
    return RetryDecision(JobEvent.RETURNED, "again", why, losses=history.losses, wait_s=wait_s)


def _cancelled(by: str, description: str) -> RetryDecision:
    return RetryDecision(JobEvent.CANCELLED, "cancelled", f"cancelled by {by}; {description}")


def hold_paused(decision: RetryDecision) -> RetryDecision:
    """Change a decision to run a job again: hold the job instead, because a user had paused it."""
    reason = f"{decision.reason}; held because it was paused; `mythjobs release` runs it again"
    return decision._replace(hold=1, reason_code="held", reason=reason)


def hold_failed(description: str, error: str) -> RetryDecision:
    """Return the decision to hold a job whose end the master failed to process.

    The job is not run again, because that could repeat work that the attempt has done.
    """
    reason = (
        f"held, as the master failed to process its end ({error}); {description}; "
        "`mythjobs release` runs it again"
    )
    return RetryDecision(JobEvent.REQUEUED, "internal", reason, hold=1)


def _machine_shortage(history: AttemptHistory, description: str) -> RetryDecision:
    delay_s = backoff_s(_FIRST_SHORTAGE_DELAY_S, history.n - 1, history)
    wait_s = min(delay_s, _MAX_SHORTAGE_DELAY_S)
    reason = f"{description}; the machine lacked resources, so the job is tried again"
    return RetryDecision(JobEvent.REQUEUED, "again", reason, losses=history.losses, wait_s=wait_s)


def _lost(history: AttemptHistory, description: str) -> RetryDecision:
    losses = history.losses + 1
    if losses >= MAX_LOSSES:
        reason = (
            f"held because it was lost {losses} times in a row, so it may be what ends its machine "
            f"or reaper; {description}; `mythjobs release` runs it again"
        )
        return RetryDecision(JobEvent.REQUEUED, LOST_OFTEN, reason, losses, hold=1)
    if history.silence == HOLD:
        return RetryDecision(JobEvent.REQUEUED, "lost", _held(description), losses, hold=1)
    return RetryDecision(JobEvent.REQUEUED, "again", description, losses)


def _stopped(by: str, history: AttemptHistory, description: str) -> RetryDecision:
    if by == WINDOW_CLOSED:
        reason = "terminated by its machine when the window closed"
        return RetryDecision(JobEvent.FAILED, WINDOW_CLOSED, reason)
    if by == "lease" and history.silence == HOLD:
        return RetryDecision(JobEvent.REQUEUED, "lost", _held(description), hold=1)
    # No user asked for this job's end: an expired lease, a closed window or an agent's
    # `--stop-jobs` ended the attempt.
    return RetryDecision(JobEvent.REQUEUED, "again", description)


def _held(description: str) -> str:
    return f'{description}; held, as its command sets silence = "hold"; `mythjobs release` runs it'


def _failed(
    outcome: o.Outcome, command: Command, history: AttemptHistory, later: str, description: str
) -> RetryDecision:
    retry = command.retry
    if later:
        wait_s = backoff_s(retry.backoff_s, history.n - 1 - history.failures, history)
        match = later[:_MAX_QUOTED]
        reason = f'its output says "{match}" ({description}); jobs of {command.name} wait'
        return RetryDecision(JobEvent.REQUEUED, "later", reason, wait_s=wait_s, defers_command=True)
    # An ad-hoc run is not tried again after EX_TEMPFAIL, because the user of `mythjobs run`
    # waits for its exit code.
    if outcome == o.Exited(EX_TEMPFAIL) and command.name != RUN:
        wait_s = backoff_s(retry.backoff_s, history.n - 1 - history.failures, history)
        reason = f"exit code {EX_TEMPFAIL} asks to be run again later"
        return RetryDecision(JobEvent.REQUEUED, "later", reason, wait_s=wait_s)
    kind = str(o.to_json(outcome)["kind"])
    budget, counts = retry.failures, kind in retry.on
    if isinstance(outcome, o.Breached) and command.on_breach:
        if command.on_breach == "hold":
            reason = f"{description}; held, `mythjobs release` runs it again"
            return RetryDecision(JobEvent.REQUEUED, "breached", reason, hold=1)
        counts = command.on_breach == "retry"
        # on_breach = "retry" allows one retry even if [retry] does not set `failures`.
        budget = max(budget, 1)
    if counts and history.failures < budget:
        wait_s = backoff_s(retry.backoff_s, history.failures, history)
        reason = f"{description}; failure {history.failures + 1}, run again up to {budget} times"
        return RetryDecision(JobEvent.REQUEUED, "retry", reason, failed=1, wait_s=wait_s)
    return RetryDecision(JobEvent.FAILED, kind, description, failed=1)


def backoff_s(first_s: float, before: int, history: AttemptHistory) -> float:
    """Return an exponential back-off in seconds, after `before` earlier delays.

    ± 25 % jitter spreads jobs that failed together. The jitter is derived from job id and attempt
    number, so every call for an attempt returns the same delay.
    """
    wait_s = first_s * 2.0 ** min(max(before, 0), _MAX_DOUBLINGS)
    wait_s = min(wait_s, max(first_s, _MAX_BACKOFF_S))
    share = zlib.crc32(b"%d.%d" % (history.job_id, history.n)) / 2**32
    return wait_s * (0.75 + share / 2)
