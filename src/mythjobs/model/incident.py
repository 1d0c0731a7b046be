"""Incidents: what happened that users may want to learn, and the kinds of it."""

from __future__ import annotations

from typing import Final, NamedTuple

# Kinds of incidents, with a description for users.
KINDS: Final = {
    "failed": "a job failed, after its last retry",
    "recovered": "a command whose jobs failed succeeded again",
    "held": "a job is held after losses, a breached limit or an internal error",
    "lost": "a machine was not reachable for three minutes",
    "returned": "a lost machine is connected again",
    "missed": "a schedule's run or a job's deadline was missed",
    "late": "a schedule's run started late",
    "drifting": "a schedule runs less often than it should",
    "slow": "a job runs much longer than its command usually does",
    "batch": "all jobs of a batch have ended",
    "channel": "messages to another channel fail",
}
# Kinds of incidents that concern a machine, and no command.
MACHINE_KINDS: Final = frozenset(("lost", "returned"))
# Kinds that a channel gets if its owner names none: all trouble, and the ends of trouble.
DEFAULT_KINDS: Final = tuple(each for each in KINDS if each != "batch")
# Kinds that end the notification of another kind, by their own kind.
ENDS: Final = {"recovered": "failed", "returned": "lost"}


class Incident(NamedTuple):
    """One incident. Incidents of one kind and subject share a notification.

    subject: like "command 5" or "machine 2". name: name of that command, machine or schedule.
    command: name of the command concerned, "" if there is none. detail: sentence with the reason.
    machine_id, is_loss: the machine of the attempt, and whether the attempt was lost with it.
    is_muted: shown in the list of notifications, but not sent to channels.
    """

    kind: str
    subject: str
    name: str
    detail: str = ""
    command: str = ""
    job: int | None = None
    n: int = 0
    machine: str = ""
    machine_id: int | None = None
    is_loss: bool = False
    is_muted: bool = False
