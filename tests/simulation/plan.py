"""What one run is given: clocks, faults and work, drawn from a seed or read from a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, field

from mythjobs.protocol.messages import HEARTBEAT_S

MASTER = 0


class Fault(Struct, frozen=True, array_like=True, omit_defaults=True):
    """`who` is a machine, 0 the master. What `value` and `for_ms` mean is said in faults.py."""

    at_ms: int
    kind: str
    who: int
    for_ms: int = 0
    value: int = 0


class Step(Struct, frozen=True, array_like=True, omit_defaults=True):
    """Something a person does. Jobs are named by the place of their submit among all submits."""

    at_ms: int
    do: str
    what: dict[str, Any] = field(default_factory=dict)


class Plan(Struct, frozen=True):
    """Faults and work end before `calm_ms`; then everything must be over within a bound."""

    seed: int
    machines: int
    calm_ms: int
    rates: list[int]  # the master's, then each machine's, in thousandths
    commands: list[dict[str, Any]]
    settings: list[dict[str, Any]]  # of each machine
    faults: list[Fault]
    work: list[Step]
    semaphores: dict[str, int] = field(default_factory=dict)
    beat_s: float = HEARTBEAT_S
    # After a cut a connection tries again so late at most; a new one is not held up by it.
    backoff_ms: int = 0


def write(plan: Plan) -> str:
    return msgspec.json.format(msgspec.json.encode(plan), indent=1).decode()


def read(path: Path) -> Plan:
    return msgspec.json.decode(path.read_bytes(), type=Plan)
