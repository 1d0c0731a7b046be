"""Checks of numbers in messages of the agent: JSON has some that no float or timer can hold."""

from __future__ import annotations

from typing import Any, Final

# Job and attempt numbers have 64 bits.
MAX_NUMBER: Final = 2**63 - 1
# A float holds all integers up to this one.
_MAX: Final = 2**53


def read_number(name: str, value: Any, least: int = -_MAX, most: int = _MAX) -> float:
    """Return a number from `least` to `most`. Raises ValueError, which names it."""
    if not isinstance(value, int | float) or not least <= value <= most:
        raise ValueError(f"{name} is {value!r:.50}, and must be a number from {least} to {most}")
    return value


def read_integer(name: str, value: Any, least: int = -_MAX, most: int = _MAX) -> int:
    number = read_number(name, value, least, most)
    if not isinstance(number, int):
        raise ValueError(f"{name} is {value!r:.50}, and must be a whole number")
    return number
