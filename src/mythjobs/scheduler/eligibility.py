"""Which machine may run a job of a class, and why not: the scheduler and `why` ask the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from mythjobs.scheduler.room import room


class Rights(NamedTuple):
    """What a machine's owner allows: `all`, only the `listed`, or all `except` the listed."""

    mode: str
    commands: frozenset[str]

    def allow(self, command: str) -> bool:
        if self.mode == "all":
            return True
        return (command in self.commands) == (self.mode == "listed")


class MachineFacts(NamedTuple):
    """A machine as placement sees it. `running` counts leased attempts too."""

    name: str
    rights: Rights
    connected: bool
    jobs: int
    running: int


class Rule(NamedTuple):
    """One rule on one machine: whether it is met, and what to say if not."""

    rule: str
    ok: bool
    detail: str


class JobFacts(NamedTuple):
    """What of a job itself keeps it from being ready."""

    state: str
    command: str
    hold: int
    not_before_ms: int | None
    unmet: int
    ready: bool
    subject: str | None
    reason_code: str
    reason: str


def rules(command: str, machine: MachineFacts) -> list[Rule]:
    """Every rule of this machine for a command, in the order in which they are told."""
    allowed = machine.rights.allow(command)
    free = room(machine.jobs, machine.running) > 0
    return [
        Rule("rights", allowed, "" if allowed else f"{command} is not allowed here"),
        Rule("connected", machine.connected, "" if machine.connected else "not connected"),
        Rule("room", free, "" if free else f"all {machine.jobs} places are taken"),
    ]


def may_run(command: str, machine: MachineFacts) -> bool:
    """Whether everything but room is met."""
    return all(each.ok for each in rules(command, machine) if each.rule != "room")


def waits_for(job: JobFacts) -> tuple[str, str] | None:
    """The code and sentence of what a queued job itself waits for; None if it is ready."""
    if job.hold == 1:
        return (job.reason_code or "held", job.reason or "held; `mythjobs release` lets it go on")
    if job.hold:
        return ("batch_opening", "its batch is being made ready")
    if job.not_before_ms is not None:
        return ("not_before", "waits for its time")
    if job.unmet:
        jobs = "another job" if job.unmet == 1 else f"{job.unmet} other jobs"
        return ("dependency", f"waits for {jobs} to end")
    if not job.ready and job.subject is not None:
        return ("subject_taken", f"another job about {job.subject} comes first")
    return None


def waits_where(command: str, machines: Sequence[MachineFacts]) -> tuple[str, str]:
    """The code and sentence of why a ready job of this command has no place."""
    if not machines:
        return ("no_machine", "no machine has joined yet; start one with `mythjobs up`")
    allowing = [each for each in machines if each.rights.allow(command)]
    if not allowing:
        return (
            "not_allowed",
            f"no machine allows {command}; allow it with `mythjobs machine allow`",
        )
    there = [each for each in allowing if each.connected]
    if not there:
        names = ", ".join(each.name for each in allowing)
        return ("not_connected", f"waits for a machine that allows it: {names} (not connected)")
    full = [each for each in there if room(each.jobs, each.running) <= 0]
    if len(full) == len(there):
        names = ", ".join(f"{each.name} (all {each.jobs} taken)" for each in there)
        return ("no_room", f"waits for a place on {names}")
    return ("starting", "is about to start")
