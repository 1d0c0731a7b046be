"""Invitations of machines: each lets one machine join, until it expires."""

from __future__ import annotations

from typing import Final, NamedTuple

from sqlalchemy import delete, insert, select, update

from mythjobs.store import tables as t
from mythjobs.store.expressions import param
from mythjobs.store.statement import Statement
from mythjobs.store.transaction import Transaction

invitation = t.invitation


class InvitationRow(NamedTuple):
    """Row of an invitation, with a random id.

    secret_hash: SHA-256 in hex. rights: JSON, of the machine that joins.
    name: of the machine that joins; "" is the name that it gives itself. failures: number of wrong
    secrets sent for it. used_by: key of the machine that has joined, "" if none has.
    """

    invitation_id: int
    secret_hash: str
    rights: str
    name: str
    expires_ms: int
    failures: int = 0
    used_by: str = ""


_INSERT: Final = Statement(insert(invitation), InvitationRow._fields)
_READ: Final = Statement(
    select(*(invitation.c[name] for name in InvitationRow._fields)).where(
        invitation.c.invitation_id == param("invitation_id")
    )
)
_SET_USED: Final = Statement(
    update(invitation)
    .where(invitation.c.invitation_id == param("invitation_id"))
    .values(used_by=param("machine_key"))
)
_COUNT_FAILURE: Final = Statement(
    update(invitation)
    .where(invitation.c.invitation_id == param("invitation_id"))
    .values(failures=invitation.c.failures + 1)
)
_DELETE_EXPIRED: Final = Statement(
    delete(invitation).where(invitation.c.expires_ms <= param("at_ms"))
)


def save(tx: Transaction, row: InvitationRow) -> None:
    _INSERT.run(tx, **row._asdict())


def read(tx: Transaction, invitation_id: int) -> InvitationRow | None:
    rows = _READ.run(tx, invitation_id=invitation_id)
    return InvitationRow(*rows[0]) if rows else None


def set_used(tx: Transaction, invitation_id: int, machine_key: str) -> None:
    _SET_USED.run(tx, invitation_id=invitation_id, machine_key=machine_key)


def count_failure(tx: Transaction, invitation_id: int) -> None:
    _COUNT_FAILURE.run(tx, invitation_id=invitation_id)


def remove_expired(tx: Transaction, at_ms: int) -> None:
    _DELETE_EXPIRED.run(tx, at_ms=at_ms)
