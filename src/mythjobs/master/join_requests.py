"""Machines that ask to join without a token, until a person compares six words. In memory only.

The steps are those of docs/decisions/0006-network-and-joining.md. Pure: `now_ms` and random numbers
are arguments.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from mythjobs.errors import BadRequest, Conflict, NoSuchJoinRequest
from mythjobs.protocol.joining import commit_to_nonce, compute_verification_code

MAX_REQUESTS: Final = 16
LIFETIME_MS: Final = 10 * 60_000

RequestState = Literal["incomplete", "waiting", "approved", "rejected"]


@dataclass(slots=True)
class JoinRequest:
    """A machine that asks to join.

    code: the six words; empty until the machine has revealed its nonce. is_new: false if it is
    approved, and had joined before.
    """

    request_id: str
    machine_key: str
    name: str
    commitment: str
    master_nonce: bytes
    expires_ms: int
    state: RequestState = "incomplete"
    code: tuple[str, ...] = ()
    is_new: bool = True


class JoinRequests:
    """The open requests. authority: certificate (DER) of this master's authority."""

    def __init__(self, authority: bytes) -> None:
        self._authority = authority
        self._requests: dict[str, JoinRequest] = {}

    def open(
        self,
        *,
        machine_key: str,
        name: str,
        commitment: str,
        request_id: str,
        master_nonce: bytes,
        now_ms: int,
    ) -> JoinRequest:
        """Add a request. An earlier one of the same key is replaced.

        Raises Conflict if there are too many: a person must not choose from a long list.
        """
        self._remove_expired(now_ms)
        for each in list(self._requests.values()):
            if each.machine_key == machine_key:
                del self._requests[each.request_id]
        if len(self._requests) >= MAX_REQUESTS:
            raise Conflict(
                f"{MAX_REQUESTS} machines are asking to join already; approve or reject them with "
                "`mythjobs machine approve`, or try again in ten minutes"
            )
        request = JoinRequest(
            request_id, machine_key, name, commitment, master_nonce, now_ms + LIFETIME_MS
        )
        self._requests[request_id] = request
        return request

    def reveal(self, request_id: str, nonce: bytes, now_ms: int) -> JoinRequest:
        """Take the machine's nonce, and compute the words.

        Raises NoSuchJoinRequest, BadRequest.
        """
        request = self.find(request_id, now_ms)
        if request.state != "incomplete":
            raise BadRequest("the nonce of this join request was sent before")
        if commit_to_nonce(nonce) != request.commitment:
            raise BadRequest("the nonce does not match the commitment of this join request")
        request.code = compute_verification_code(
            self._authority, request.machine_key, nonce, request.master_nonce
        )
        request.state = "waiting"
        return request

    def find(self, request_id: str, now_ms: int) -> JoinRequest:
        """Return a request. Raises NoSuchJoinRequest: it may have expired."""
        self._remove_expired(now_ms)
        request = self._requests.get(request_id)
        if request is None:
            raise NoSuchJoinRequest(
                "this join request is unknown or older than ten minutes; repeat "
                "`mythjobs agent join`"
            )
        return request

    def list_waiting(self, now_ms: int) -> list[JoinRequest]:
        """Return the requests that a person can approve, oldest first."""
        self._remove_expired(now_ms)
        return [each for each in self._requests.values() if each.state == "waiting"]

    def find_waiting(self, name: str, now_ms: int) -> JoinRequest:
        """Return the waiting request of a machine by its name or id.

        Raises NoSuchJoinRequest; BadRequest if two machines have this name.
        """
        found = [e for e in self.list_waiting(now_ms) if name in (e.name, e.request_id)]
        if not found:
            raise NoSuchJoinRequest(
                f'no machine "{name}" asks to join; see `mythjobs machine approve`'
            )
        if len(found) > 1:
            raise BadRequest(
                f'{len(found)} machines named "{name}" ask to join; give the id of one: '
                + ", ".join(each.request_id for each in found)
            )
        return found[0]

    def reject_key(self, machine_key: str) -> None:
        """Reject the request of a key that was revoked."""
        for each in self._requests.values():
            if each.machine_key == machine_key:
                each.state = "rejected"

    def _remove_expired(self, now_ms: int) -> None:
        for each in list(self._requests.values()):
            # A wall clock that is set back must not keep a request alive for longer.
            if not now_ms <= each.expires_ms <= now_ms + LIFETIME_MS:
                del self._requests[each.request_id]
