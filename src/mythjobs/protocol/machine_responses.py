"""Responses of the HTTP API about machines, described in docs/api.md."""

from __future__ import annotations

from typing import Any, TypedDict

from mythjobs.protocol.scaling import ScalingDetails


class ControlState(TypedDict):
    """Whether a machine is drained or paused; until_ms: end of the pause, if it has one. enforced:
    whether its agent, as last connected, freezes its jobs for a pause."""

    drained: bool
    paused: bool
    until_ms: int | None
    enforced: bool


class MachineLoad(TypedDict):
    name: str
    state: str
    running: int
    jobs: int
    by_load: bool
    control: ControlState


class MachineSummary(MachineLoad):
    """A machine. free: its free slots as it counts them; None while it is not connected."""

    id: int
    leased: int
    free: int | None
    allow: Any
    cores: int
    last_heard_ms: int | None
    boot_id: str
    clock_ms: int


class Machines(TypedDict):
    machines: list[MachineSummary]


class ActiveOverride(TypedDict):
    command: str | None
    kind: str
    until_ms: int


class MountedDisk(TypedDict):
    path: str
    type: str
    source: str
    disk: str


class UnreadablePath(TypedDict):
    """A path that the machine could not read; until_ms: when it is tried again."""

    path: str
    until_ms: int


class MachineDetails(MachineSummary):
    """A machine. labels: of the settings, and found. gpus, mounts: as the machine reported last.
    load: a LoadReport, None while unknown."""

    zone: str
    labels: list[str]
    gpus: list[str]
    mounts: list[MountedDisk]
    hidden_paths: list[UnreadablePath]
    settings: dict[str, Any]
    own_policy: dict[str, Any]
    overrides: list[ActiveOverride]
    scaling: ScalingDetails | None
    load: dict[str, Any] | None


class DeadMachine(TypedDict):
    name: str
    jobs: list[int]


class WaitingCommand(TypedDict):
    command: str
    waiting: int
    code: str
    detail: str


class WhyMachine(TypedDict):
    machine: str
    code: str
    sentence: str
    commands: list[WaitingCommand]
