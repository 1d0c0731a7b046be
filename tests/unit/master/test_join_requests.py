"""Join requests without a token: the order of the steps, the words, and what expires."""

from __future__ import annotations

import pytest

from mythjobs.errors import BadRequest, Conflict, NoSuchJoinRequest
from mythjobs.master.join_requests import LIFETIME_MS, MAX_REQUESTS, JoinRequest, JoinRequests
from mythjobs.protocol.joining import commit_to_nonce, compute_verification_code

AUTHORITY = b"certificate"
NONCE, MASTER_NONCE = bytes(32), bytes([1]) * 32


def _open(requests: JoinRequests, number: int = 1, now_ms: int = 0) -> JoinRequest:
    return requests.open(
        machine_key=f"{number:064x}",
        name=f"machine-{number}",
        commitment=commit_to_nonce(NONCE),
        request_id=f"id{number}",
        master_nonce=MASTER_NONCE,
        now_ms=now_ms,
    )


def test_both_sides_compute_the_same_words_once_the_nonce_is_revealed() -> None:
    requests = JoinRequests(AUTHORITY)
    opened = _open(requests)
    assert requests.list_waiting(0) == []  # nobody can approve what shows no words
    revealed = requests.reveal("id1", NONCE, 1)
    assert revealed.code == compute_verification_code(
        AUTHORITY, opened.machine_key, NONCE, MASTER_NONCE
    )
    assert requests.list_waiting(1) == [revealed]
    assert requests.find_waiting("machine-1", 1) is requests.find_waiting("id1", 1) is revealed


def test_a_nonce_other_than_the_committed_one_is_refused() -> None:
    requests = JoinRequests(AUTHORITY)
    _open(requests)
    with pytest.raises(BadRequest, match="does not match"):
        requests.reveal("id1", bytes([9]) * 32, 0)
    assert requests.find("id1", 0).code == ()


def test_a_nonce_is_revealed_once() -> None:
    requests = JoinRequests(AUTHORITY)
    _open(requests)
    requests.reveal("id1", NONCE, 0)
    with pytest.raises(BadRequest, match="sent before"):
        requests.reveal("id1", NONCE, 0)


@pytest.mark.parametrize("now_ms", [LIFETIME_MS + 1, -1])
def test_a_request_expires_also_when_the_clock_is_set_back(now_ms: int) -> None:
    requests = JoinRequests(AUTHORITY)
    _open(requests)
    assert requests.find("id1", LIFETIME_MS).name == "machine-1"
    with pytest.raises(NoSuchJoinRequest, match="older than ten minutes"):
        requests.find("id1", now_ms)


def test_a_machine_that_asks_again_replaces_its_request() -> None:
    requests = JoinRequests(AUTHORITY)
    _open(requests)
    requests.reveal("id1", NONCE, 0)
    again = requests.open(
        machine_key=f"{1:064x}",
        name="machine-1",
        commitment=commit_to_nonce(NONCE),
        request_id="other",
        master_nonce=MASTER_NONCE,
        now_ms=5,
    )
    assert requests.list_waiting(5) == []
    assert requests.find("other", 5) is again
    with pytest.raises(NoSuchJoinRequest):
        requests.find("id1", 5)


def test_there_are_never_more_requests_than_a_person_can_compare() -> None:
    requests = JoinRequests(AUTHORITY)
    for number in range(MAX_REQUESTS):
        _open(requests, number)
    with pytest.raises(Conflict, match="asking to join already"):
        _open(requests, 99)
    assert _open(requests, 99, now_ms=LIFETIME_MS + 1).request_id == "id99"


def test_two_machines_of_one_name_are_told_apart_by_id() -> None:
    requests = JoinRequests(AUTHORITY)
    for number in (1, 2):
        requests.open(
            machine_key=f"{number:064x}",
            name="debian",
            commitment=commit_to_nonce(NONCE),
            request_id=f"id{number}",
            master_nonce=MASTER_NONCE,
            now_ms=0,
        )
        requests.reveal(f"id{number}", NONCE, 0)
    with pytest.raises(BadRequest, match="id1, id2"):
        requests.find_waiting("debian", 0)
    assert requests.find_waiting("id2", 0).machine_key == f"{2:064x}"
    with pytest.raises(NoSuchJoinRequest, match="no machine"):
        requests.find_waiting("attic", 0)
