"""On which terms a machine gets an attempt: what its silence means, resolved at the grant."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from mythjobs.model.command import Command
from mythjobs.protocol import lease

_LEASES = frozenset({"leases"})


class Terms(NamedTuple):
    """lease_s None is for ever; start_by_s counts from the send of the heartbeat."""

    silence: str
    lease_s: float | None
    start_by_s: float


def terms(command: Command, eligible_machines: int, can: Collection[str] = _LEASES) -> Terms:
    """The command's word, else `keep` where one machine alone may have it, else `rerun`.

    eligible_machines: by rights and pins, connected or not. can: what the chosen machine
    enforces. One that cannot end a job with its lease keeps it: it is never run twice then,
    only waited for.
    """
    silence = command.silence or (lease.RERUN if eligible_machines > 1 else lease.KEEP)
    if silence in (lease.RERUN, lease.HOLD) and "leases" in can:
        lease_s = command.lease_s
        lease_s = lease.L_S if lease_s is None else lease_s
        if lease_s == float("inf"):
            return Terms(silence, None, lease.start_by_s(silence, None))
        return Terms(silence, lease_s, lease.start_by_s(silence, lease_s))
    if silence in (lease.RERUN, lease.HOLD):
        silence = lease.KEEP
    return Terms(silence, None, lease.start_by_s(silence, None))
