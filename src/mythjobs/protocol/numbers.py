"""Ranges of numbers in messages and journals. Python has no largest integer, but the store has: a
number outside of its range is refused when it is decoded, before it can fail a transaction of the
master or a system call of the agent."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from mythjobs.model.units import MAX_WALL_MS

# SQLite, PostgreSQL and the reaper's journal have 64 bits.
Number = Annotated[int, Meta(ge=0, le=2**63 - 1)]
# A size in bytes. Sizes are added up.
Size = Annotated[int, Meta(ge=0, le=2**53)]
# An integer that a floating point number can hold, as those of JavaScript are.
Integer = Annotated[int, Meta(ge=-(2**53), le=2**53)]
# Milliseconds since 1970, by a clock that may be wrong.
Instant = Integer
Cores = Annotated[int, Meta(le=2**20)]
# Number of slots or of processes.
Count = Annotated[int, Meta(ge=0, le=2**31 - 1)]
# Seconds: 136 years. A duration in a definition is at most 36,500 days.
Duration = Annotated[float, Meta(ge=0, le=2**32)]
LeaseDuration = Annotated[float, Meta(gt=0, le=2**32)]
# Interval of heartbeats in seconds.
HeartbeatInterval = Annotated[float, Meta(ge=0.1, le=3600)]
# Milliseconds since 1970 that a user has chosen, up to the year 9999.
WallInstant = Annotated[int, Meta(ge=0, le=MAX_WALL_MS)]
# Difference from the normal priority of a process (nice(2)).
Nice = Annotated[int, Meta(ge=-20, le=19)]
