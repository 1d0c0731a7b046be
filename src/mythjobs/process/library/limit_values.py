"""Check of the limits that a user of the library gives."""

from __future__ import annotations

import sys
from typing import Any, Final

from mythjobs.model.limits import Limits

# Limits that are integers, with their ranges. The largest values of memory and processes are those
# that cgroups accept: of the kernel's page counter and PIDS_MAX. With a limit of 0 on either no
# program could start.
_INTEGER_LIMITS: Final = (
    ("memory_bytes", 1, 2**63 - 1),
    ("output_bytes", 0, 2**63 - 1),
    ("processes", 1, 4_194_304),
)


def check_limits(limits: Limits) -> None:
    """Raise ValueError, which names the limit and what is allowed, if one is out of range."""
    if not isinstance(limits, Limits):
        raise ValueError(f"limits must be Limits(…): {limits!r}")
    for name in ("wall_s", "cpu_s", "idle_s"):
        _check_time_limit(name, getattr(limits, name), ", or None for no limit")
    _check_time_limit("grace_s", limits.grace_s, "")
    for name, least, largest in _INTEGER_LIMITS:
        value = getattr(limits, name)
        if value is None:
            continue
        # Booleans are integers in Python, but no amounts.
        is_integer = isinstance(value, int) and not isinstance(value, bool)
        if not (is_integer and least <= value <= largest):
            raise ValueError(
                f"limits: {name} must be an integer from {least} to {largest}, or None for no "
                f"limit, not {value!r}"
            )


def _check_time_limit(name: str, value: Any, or_none: str) -> None:
    if value is None and or_none:
        return
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not (is_number and 0 <= value <= sys.float_info.max):
        raise ValueError(
            f"limits: {name} must be a finite number of seconds, at least 0{or_none}, not {value!r}"
        )
