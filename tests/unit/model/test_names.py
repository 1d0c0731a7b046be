"""Syntax of names."""

from __future__ import annotations

import pytest

from mythjobs.errors import BadRequest
from mythjobs.model import names


@pytest.mark.parametrize("name", ["a", "a1", "flag-commercials", "a_b.c-1", "a" * 100])
def test_a_short_name_is_accepted(name: str) -> None:
    assert names.is_short_name(name)


@pytest.mark.parametrize(
    "name", ["", "A", "1a", "-a", "a-", "a--b", "a b", "a\n", "é", "a/b", "a" * 101, "A" * 101]
)
def test_another_name_is_refused(name: str) -> None:
    assert not names.is_short_name(name)


@pytest.mark.parametrize("name", ["a", "attic", "Mediencenter 2", "tv.local", "Küche", "x" * 100])
def test_a_machine_name_is_any_printable_text(name: str) -> None:
    names.check_machine_name(name)


@pytest.mark.parametrize("name", ["", " ", " a", "a ", "a/b", "a\n", "a\x1b[1m", "x" * 101])
def test_another_machine_name_is_refused(name: str) -> None:
    with pytest.raises(BadRequest, match="is not a name of a machine: it must be printable"):
        names.check_machine_name(name)


def test_the_error_for_a_semaphore_names_the_syntax() -> None:
    assert names.invalid_semaphore_name("NAS").sentence == (
        'semaphore name "NAS" is invalid; use small letters and digits, joined by - _ or . '
        "(up to 100 characters)"
    )
