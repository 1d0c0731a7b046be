"""Choice of a new attempt's silence policy (what happens if its machine falls silent) and lease."""

from __future__ import annotations

import math

from mythjobs.model.silence import KEEP, LEASED_POLICIES, RERUN


def choose_lease_terms(
    silence: str,
    lease_s: float | None,
    *,
    default_lease_s: float,
    eligible_machines: int,
    can_enforce_lease: bool,
) -> tuple[str, float | None]:
    """Return the silence policy of a new attempt, and its lease in seconds (None: unlimited).

    silence: the command's policy. If it is empty, the policy is `rerun` if several machines are
    eligible and the chosen one ends the attempt by itself at lease expiry. Otherwise it is `keep`:
    an attempt that may still run must not be repeated. lease_s: the command's lease, `math.inf`
    for unlimited, None for the default.
    """
    if not silence:
        silence = RERUN if eligible_machines > 1 and can_enforce_lease else KEEP
    length_s = default_lease_s if lease_s is None else lease_s
    if silence not in LEASED_POLICIES or length_s == math.inf:
        return silence, None
    return silence, length_s
