"""Requests that change queued jobs or submit ended ones again, and the values that they give."""

from __future__ import annotations

from msgspec import Struct, field

from mythjobs.protocol.requests import Dependency


class JobChanges(Struct, frozen=True, forbid_unknown_fields=True):
    """Values for a job in place of its own, named as in Submit. What is left out stays as it is.

    `arguments`, `semaphores` and `limits` replace those of the same name, `labels` all that the
    job's submitter gave. A subject that follows from the arguments follows from the new ones.
    """

    arguments: dict[str, str | int | float] = field(default_factory=dict)
    subject: str | None = None
    priority: int | None = None
    not_before_ms: int | None = None
    deadline_ms: int | None = None
    comment: str | None = None
    machine: str | None = None
    await_machine: bool = False
    prefer: str | None = None
    labels: list[str] | None = None
    semaphores: dict[str, int] = field(default_factory=dict)
    limits: dict[str, str | int] = field(default_factory=dict)


class RerunChanges(JobChanges, frozen=True, forbid_unknown_fields=True):
    """Changes of a rerun. A rerun has only the key, hold and times given here; `after` joins the
    dependencies that it takes over."""

    after: list[Dependency] = field(default_factory=list)
    key: str | None = None
    hold: bool = False


class Rerun(Struct, frozen=True, forbid_unknown_fields=True):
    """Jobs to submit again, each as a new job, and what to change. A `key` needs a single job."""

    ids: list[int]
    changes: RerunChanges | None = None


class QueuedJobChange(Struct, frozen=True, forbid_unknown_fields=True):
    """Queued jobs to change. A start time that has passed lets the jobs start at once."""

    ids: list[int]
    changes: JobChanges
