"""Silence policies: what happens to an attempt whose machine stops sending heartbeats."""

from __future__ import annotations

from typing import Final

RERUN: Final = "rerun"  # run the job again after lease expiry
HOLD: Final = "hold"  # hold the job for a person after lease expiry
KEEP: Final = "keep"  # wait for the machine, without limit
IDEMPOTENT: Final = "idempotent"  # run the job again soon; two attempts may overlap

SILENCE_POLICIES: Final = (RERUN, HOLD, KEEP, IDEMPOTENT)
# Policies under which the machine ends the attempt when its lease expires.
LEASED_POLICIES: Final = (RERUN, HOLD)
