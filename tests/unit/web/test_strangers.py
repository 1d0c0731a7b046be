"""The limit on unidentified connections: in all, by address, and given back."""

from __future__ import annotations

from mythjobs.web.security.strangers import MAX_STRANGERS, MAX_STRANGERS_PER_ADDRESS, Strangers


def test_one_address_cannot_take_all_places() -> None:
    strangers = Strangers()
    admitted = [strangers.admit("10.0.0.1") for _ in range(MAX_STRANGERS_PER_ADDRESS + 1)]
    assert admitted == [True] * MAX_STRANGERS_PER_ADDRESS + [False]
    assert strangers.admit("10.0.0.2")
    strangers.release("10.0.0.1")
    assert strangers.admit("10.0.0.1")
    assert not strangers.admit("10.0.0.1")


def test_all_addresses_together_are_limited() -> None:
    strangers = Strangers()
    addresses = [f"10.0.0.{number}" for number in range(MAX_STRANGERS)]
    assert all(strangers.admit(each) for each in addresses)
    assert not strangers.admit("10.1.0.1")
    strangers.release(addresses[5])
    assert strangers.admit("10.1.0.1")
