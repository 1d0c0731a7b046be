"""Run plans: clocks, faults and workload of one run, generated from a seed or read from a file.

Plan files are kept as tests: field names of `Plan`, field order of `Fault` and `Step`, kinds of
faults and actions are a file format.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, field

from mythjobs.protocol.messages import HEARTBEAT_S
from tests.simulation.simulator import NOON_MS

MASTER = 0


class Fault(Struct, frozen=True, array_like=True, omit_defaults=True):
    """`target` is a machine number, or MASTER. faults.py defines `duration_ms` and `value`."""

    at_ms: int
    kind: str
    target: int
    duration_ms: int = 0
    value: int = 0


class Step(Struct, frozen=True, array_like=True, omit_defaults=True):
    """Action of a user. Its arguments name a job by the index of its submit among all submits."""

    at_ms: int
    action: str
    arguments: dict[str, Any] = field(default_factory=dict)


class Plan(Struct, frozen=True):
    """Faults and workload end before `calm_ms`; all jobs must end within a bound after it."""

    seed: int
    machines: int
    calm_ms: int
    rates: list[int]  # clock rates in thousandths: of the master, then of each machine
    commands: list[dict[str, Any]]
    settings: list[dict[str, Any]]  # of each machine
    faults: list[Fault]
    work: list[Step]
    semaphores: dict[str, int] = field(default_factory=dict)
    beat_s: float = HEARTBEAT_S  # heartbeat interval
    # Maximum delay of TCP retransmission after a cut ends; new connections have no such delay.
    backoff_ms: int = 0
    start_ms: int = NOON_MS  # wall time of the start
    retention: dict[str, Any] | None = None  # [retention] of the queue; None: nothing is deleted


def encode_plan(plan: Plan) -> str:
    return msgspec.json.format(msgspec.json.encode(plan), indent=1).decode()


def read_plan(path: Path) -> Plan:
    return msgspec.json.decode(path.read_bytes(), type=Plan)
