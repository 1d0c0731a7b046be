"""Handlers of requests that let machines join over the network, rename them and revoke them."""

from __future__ import annotations

import hmac
from typing import Final

import msgspec

from mythjobs.errors import BadRequest, Conflict, NotAllowed
from mythjobs.master import requests
from mythjobs.master.handlers.attachment import enroll_machine
from mythjobs.master.machine import Machine
from mythjobs.master.notify.handlers import end_notifications
from mythjobs.master.requests import JoinedMachine, RevokedMachine
from mythjobs.master.state import MasterState
from mythjobs.master.turn_context import TurnContext
from mythjobs.model.machine_policy import ALLOW_ALL, ALLOW_NOTHING
from mythjobs.model.names import check_machine_name
from mythjobs.store.writes import invitations, machines

# A secret has 128 random bits; the limit only keeps a flood of guesses out of the log and store.
MAX_FAILURES: Final = 30


def invite_machine(turn: TurnContext, request: requests.InviteMachine) -> None:
    """Store an invitation. Raises NoSuchCommand, BadRequest, Conflict if the name is in use."""
    if request.name:
        _check_new_name(turn, request.name)
    rights = _read_rights(turn, request.allow)
    invitations.remove_expired(turn.tx, turn.now.wall_ms)
    row = invitations.InvitationRow(
        request.invitation_id, request.secret_hash, rights, request.name, request.expires_ms
    )
    invitations.save(turn.tx, row)


def accept_invitation(
    turn: TurnContext, request: requests.AcceptInvitation
) -> JoinedMachine | None:
    """Enroll a machine and use up its invitation; None if the invitation is not valid.

    The cause is not told, so that a stranger learns nothing about invitations. A machine that
    repeats the request, because it did not get the response, gets it again.
    Raises NotAllowed for a revoked key, BadRequest for a name that cannot be used.
    """
    invitations.remove_expired(turn.tx, turn.now.wall_ms)
    row = invitations.read(turn.tx, request.invitation_id)
    if row is None or row.failures >= MAX_FAILURES:
        return None
    if not hmac.compare_digest(row.secret_hash, request.secret_hash):
        invitations.count_failure(turn.tx, row.invitation_id)
        return None
    if row.used_by not in ("", request.machine_key):
        return None
    joined = _enroll(turn, request.machine_key, row.name or request.name, row.rights)
    invitations.set_used(turn.tx, row.invitation_id, request.machine_key)
    # A repeated request is answered like the first one, which made the machine new.
    return msgspec.structs.replace(joined, is_new=True) if row.used_by else joined


def approve_machine(turn: TurnContext, request: requests.ApproveMachine) -> JoinedMachine:
    """Enroll a machine. Raises NoSuchCommand, BadRequest, Conflict."""
    rights = _read_rights(turn, request.allow)
    return _enroll(turn, request.machine_key, request.name, rights)


def rename_machine(turn: TurnContext, request: requests.RenameMachine) -> None:
    """Rename a machine. Raises NoSuchMachine, BadRequest, Conflict if the name is in use."""
    machine = turn.state.open_named(request.name)
    if request.new_name != machine.name:
        _check_new_name(turn, request.new_name)
        machines.rename(turn.tx, machine.machine_id, request.new_name)
        machine.name = request.new_name


def revoke_machine(turn: TurnContext, request: requests.RevokeMachine) -> RevokedMachine:
    """Refuse a machine's key from now on.

    The row stays, because attempts refer to it. Its name becomes free. Raises NoSuchMachine,
    Conflict if the machine was revoked before.
    """
    machine = turn.state.open_named(request.name)
    if machine.is_revoked:
        raise Conflict(f"machine {machine.name} was revoked before")
    name = f"{machine.name} (revoked {machine.machine_id})"
    rights = ALLOW_NOTHING.to_json()
    machines.revoke(turn.tx, machine.machine_id, name=name, rights=rights, at_ms=turn.now.wall_ms)
    machine.name, machine.rights, machine.is_revoked = name, ALLOW_NOTHING, True
    end_notifications(turn, f"machine {machine.machine_id}")
    return RevokedMachine(machine.key, machine.connection)


def check_key(state: MasterState, key: str) -> Machine | None:
    """Return the machine that has joined with this key, if any. Raises NotAllowed if the key was
    revoked."""
    found = next((each for each in state.machines.values() if each.key == key), None)
    if found is not None and found.is_revoked:
        raise NotAllowed(
            f"the key of this machine was revoked ({found.name}); remove agent/agent.key in "
            "its state directory, then join again"
        )
    return found


def _enroll(turn: TurnContext, key: str, name: str, rights: str) -> JoinedMachine:
    """Store a machine with this key. One that has joined before stays as it is: its owner may have
    changed its rights since, and a join only renews its connection."""
    known = check_key(turn.state, key)
    machine = known or enroll_machine(turn, name=name, key=key, rights=rights)
    return JoinedMachine(machine.machine_id, machine.name, known is None)


def _read_rights(turn: TurnContext, allow: str | list[str]) -> str:
    if allow == "all":
        return ALLOW_ALL.to_json()
    if isinstance(allow, str):
        raise BadRequest(f'allow "{allow}" is neither "all" nor a list of command names')
    for name in allow:
        turn.catalog.find_command(turn.tx, name)
    return ALLOW_NOTHING.with_changes(allow=frozenset(allow), deny=frozenset()).to_json()


def _check_new_name(turn: TurnContext, name: str) -> None:
    check_machine_name(name)
    if any(each.name == name for each in turn.state.machines.values()):
        raise Conflict(f'there is a machine "{name}" already; choose another name')
