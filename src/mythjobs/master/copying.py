"""Copies of what the memory holds, for the draft of a turn."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any, TypeVar

T = TypeVar("T")


def copier(of: type[T]) -> Callable[[T], T]:
    """Copies a dataclass with slots, whose constructor takes them in their order.

    `dataclasses.replace` looks at every field again each time: that took a tenth of a turn.
    """
    values: Callable[[Any], tuple[Any, ...]] = attrgetter(*of.__slots__)  # type: ignore[attr-defined]

    def copy(one: T) -> T:
        return of(*values(one))

    return copy
