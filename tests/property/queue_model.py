"""Model of the queue: what a sequence of requests may have made of its jobs. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

FINAL: Final = ("succeeded", "failed", "cancelled")
Listed = Mapping[int, Mapping[str, Any]]  # jobs of GET /jobs by id


@dataclass
class ModelJob:
    """A job. state: queued, running or a final state. key: names the file that ends its program."""

    id: int
    key: str
    priority: int = 0
    subject: str | None = None
    hold: bool = False
    batch: int | None = None
    rerun_of: int | None = None
    state: str = "queued"
    paused: bool = False
    cancelled: bool = False  # while running: its end has been requested
    attempts: int = 0

    @property
    def has_ended(self) -> bool:
        return self.state in FINAL


@dataclass
class QueueModel:
    """Jobs of one command on machines with `slots` slots in all.

    The queue chooses which of the waiting jobs run. The model only knows which choices are
    right, and adopts the choice that it is shown.
    """

    slots: int
    jobs: dict[int, ModelJob] = field(default_factory=dict)
    # Exit codes of the programs that have been told to end.
    exit_codes: dict[str, int] = field(default_factory=dict)

    def add(self, job: ModelJob) -> None:
        assert job.id not in self.jobs
        self.jobs[job.id] = job

    def unfinished_programs(self) -> list[ModelJob]:
        """Return the running jobs whose program has not been told to end."""
        return [
            each
            for each in self.jobs.values()
            if each.state == "running" and each.key not in self.exit_codes
        ]

    def prunable(self, states: tuple[str, ...]) -> list[int]:
        """Return the jobs that a prune of these states deletes."""
        open_batches = {each.batch for each in self.jobs.values() if not each.has_ended}
        return [
            each.id
            for each in self.jobs.values()
            if each.state in states and (each.batch is None or each.batch not in open_batches)
        ]

    def find_differences(self, listed: Listed) -> list[str]:
        """Return why the queue cannot be at rest in this state, or [] and adopt the state."""
        found = [f"job {each} exists" for each in listed if each not in self.jobs]
        found += [f"job {each} does not exist" for each in self.jobs if each not in listed]
        if found:
            return found
        for job in self.jobs.values():
            found += self._compare(job, listed[job.id])
        found += self._check_placement({key: each["state"] for key, each in listed.items()})
        if not found:
            for job in self.jobs.values():
                self._adopt(job, listed[job.id]["state"])
        return found

    def _compare(self, job: ModelJob, row: Mapping[str, Any]) -> list[str]:
        state, allowed = row["state"], self._states_at_rest(job)
        if state not in allowed:
            return [f"job {job.id} is {state}, not {' or '.join(sorted(allowed))}"]
        started = job.state == "queued" and (state == "running" or self._ended_by_itself(job, row))
        expected = {
            "hold": job.hold and state == "queued",
            "frozen": ["user"] if job.paused and state == "running" else [],
            "attempt": job.attempts + started,
            "priority": job.priority,
            "subject": job.subject,
            "batch": job.batch,
            "rerun_of": job.rerun_of,
        }
        return [
            f"job {job.id} ({state}): {name} is {row[name]!r}, not {value!r}"
            for name, value in expected.items()
            if row[name] != value
        ]

    def _states_at_rest(self, job: ModelJob) -> set[str]:
        ended = self._own_end(job.key)
        match job.state:
            case "queued" if job.hold:
                return {"queued"}
            case "queued":
                return {"queued", ended or "running"}
            case "running" if job.cancelled:
                # A program that had been told to end may do so before it is stopped.
                return {"cancelled"} | ({ended} if ended == "succeeded" else set())
            case "running" if job.paused or ended is None:
                return {"running"}
            case "running":
                assert ended is not None
                return {ended}
            case final:
                return {final}

    def _own_end(self, key: str) -> str | None:
        code = self.exit_codes.get(key)
        return None if code is None else "failed" if code else "succeeded"

    def _ended_by_itself(self, job: ModelJob, row: Mapping[str, Any]) -> bool:
        return row["state"] in FINAL and row["state"] == self._own_end(job.key)

    def _check_placement(self, states: Mapping[int, str]) -> list[str]:
        running = [each for each in self.jobs.values() if states[each.id] == "running"]
        waiting = [
            each for each in self.jobs.values() if states[each.id] == "queued" and not each.hold
        ]
        subjects = [each.subject for each in running if each.subject is not None]
        found = [f"two jobs run about {each}" for each in set(subjects) if subjects.count(each) > 1]
        if len(running) > self.slots:
            found.append(f"{len(running)} jobs run in {self.slots} slots")
        able = [each for each in waiting if each.subject not in subjects or each.subject is None]
        if able and len(running) < self.slots:
            found.append(f"job {able[0].id} waits although a slot is free")
        began = [each for each in running if each.state == "queued"]
        for each in able:
            if each.subject is None and any(other.priority < each.priority for other in began):
                found.append(f"job {each.id} waits while a job of lower priority began")
        return found

    def _adopt(self, job: ModelJob, state: str) -> None:
        if job.state == "queued" and state != "queued":
            job.attempts += 1
        job.state = state
        if job.has_ended:
            job.paused = job.cancelled = False
