"""What becomes of an attempt whose machine falls silent: decided when it is granted."""

from __future__ import annotations

import math


def choose_lease_terms(
    silence: str,
    lease_s: float | None,
    *,
    default_lease_s: float,
    eligible_machines: int,
    can_enforce_lease: bool,
) -> tuple[str, float | None]:
    """The author's word, else `keep` where one machine at most may run it, else `rerun`; and the
    lease that goes with it, None for ever.

    lease_s: what the author wrote (infinite: for ever), None for the usual. machines: how
    many are eligible by what people said. can_lease: whether the chosen one ends an attempt by
    itself; one that does not must be waited for.
    """
    if not silence:
        silence = "rerun" if eligible_machines > 1 and can_enforce_lease else "keep"
    length_s = default_lease_s if lease_s is None else lease_s
    if silence not in ("rerun", "hold") or length_s == math.inf:
        return silence, None
    return silence, length_s
