"""The lease policy is the command's, else it follows from the number of eligible machines."""

from __future__ import annotations

import math

import pytest

from mythjobs.scheduler.silence_policy import choose_lease_terms


@pytest.mark.parametrize(
    "silence,lease_s,machines,can_lease,expected",
    [
        ("", None, 1, True, ("keep", None)),
        ("", None, 2, True, ("rerun", 1800.0)),
        ("", None, 2, False, ("keep", None)),
        ("", 600.0, 2, True, ("rerun", 600.0)),
        ("", math.inf, 2, True, ("rerun", None)),
        ("hold", None, 1, False, ("hold", 1800.0)),
        ("rerun", None, 1, True, ("rerun", 1800.0)),
        ("rerun", 600.0, 1, True, ("rerun", 600.0)),
        ("hold", math.inf, 3, True, ("hold", None)),
        ("keep", None, 3, True, ("keep", None)),
        ("idempotent", None, 3, True, ("idempotent", None)),
    ],
)
def test_terms_are_those_of_the_command_else_follow_from_the_number_of_machines(
    silence: str,
    lease_s: float | None,
    machines: int,
    can_lease: bool,
    expected: tuple[str, float | None],
) -> None:
    found = choose_lease_terms(
        silence,
        lease_s,
        default_lease_s=1800.0,
        eligible_machines=machines,
        can_enforce_lease=can_lease,
    )
    assert found == expected
