"""Requests to the master core, which it responds to, and messages, which it does not."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from mythjobs.master.catalog import NO_REQUIREMENTS, JobRequirements
from mythjobs.protocol.messages import AgentFrame, AgentMessage, Hello
from mythjobs.protocol.requests import Submit


class Request(Struct, frozen=True):
    """The master core responds to it."""


class Message(Struct, frozen=True):
    """The master core does not respond to it."""


class SubmitJob(Request, frozen=True):
    submit: Submit
    submitter: str


class BatchRow(Struct, frozen=True):
    """One validated job of a batch; `arguments` as stored."""

    arguments: str
    subject: str | None


class BeginBatch(Request, frozen=True):
    """Reserve consecutive ids for `jobs` jobs; the response is a `BatchIds`."""

    command: str
    jobs: int


class BatchIds(Struct, frozen=True):
    batch_id: int
    first_job_id: int


class BatchSlice(Request, frozen=True):
    """Insert the next rows of a batch; the last slice opens the batch.

    A batch of a single slice needs no ids reserved before. The response is a `BatchIds`.
    """

    ids: BatchIds | None
    command: str
    revision_id: int
    submitter: str
    offset: int
    rows: Sequence[BatchRow]
    priority: int
    hold: bool
    comment: str
    last: bool
    requirements: JobRequirements = NO_REQUIREMENTS
    not_before_ms: int | None = None
    deadline_ms: int | None = None


class DropBatch(Request, frozen=True):
    """Delete an incomplete batch."""

    ids: BatchIds


class CancelJobs(Request, frozen=True):
    ids: list[int]
    by: str


class HoldJobs(Request, frozen=True):
    ids: list[int]


class ReleaseJobs(Request, frozen=True):
    ids: list[int]


class RerunJobs(Request, frozen=True):
    ids: list[int]
    submitter: str


class DefineCommand(Request, frozen=True):
    definition: dict[str, object]
    replace: bool


class RemoveCommand(Request, frozen=True):
    name: str


class SetMachine(Request, frozen=True):
    """Change some settings; None leaves one unchanged. `allow` is "all" or command names."""

    name: str
    jobs: int | None = None
    allow: str | list[str] | None = None
    deny: list[str] | None = None
    zone: str | None = None


class EditMachine(Request, frozen=True):
    """Replace all settings of a machine; `settings` as in the TOML of `machine edit`."""

    name: str
    settings: dict[str, object]


class OverrideHours(Request, frozen=True):
    """Override a machine's windows: `kind` is "allow" or "pause" until `until_ms` (wall).

    "hours" removes the override. `command` None means every command.
    """

    name: str
    kind: str
    until_ms: int | None = None
    command: str | None = None


class SetSemaphore(Request, frozen=True):
    """`size` None deletes the semaphore; `free_when_frozen` None leaves that unchanged."""

    name: str
    size: int | None
    free_when_frozen: bool | None = None


class EnableCommand(Request, frozen=True):
    name: str
    enabled: bool


class DeclareDead(Request, frozen=True):
    """Declare that a machine's processes are gone and will not come back with the machine."""

    name: str
    by: str
    reason: str


class FreezeJobs(Request, frozen=True):
    """Freeze or thaw running jobs for a user."""

    ids: list[int]
    frozen: bool


class PruneJobs(Request, frozen=True):
    """Check the next `limit` jobs above an id, and delete those that ended in one of `states`
    before `before_ms`. The response is a `store.writes.prune.PruneSlice`."""

    before_ms: int
    states: list[str]
    after_job_id: int
    limit: int


class Attach(Request, frozen=True):
    """Attach a machine that has proved its key. `trusted`: it used the master's Unix socket."""

    hello: Hello
    trusted: bool
    connection: int


class Attached(Struct, frozen=True):
    machine_id: int
    jobs: int


class FrameReceived(Message, frozen=True):
    connection: int
    frame: AgentFrame


class FailedMessage(Message, frozen=True):
    """A message of an agent that cannot be handled, and why. Handled in a turn of its own."""

    connection: int
    frame_no: int  # to acknowledge
    message: AgentMessage
    error: str


class Detached(Message, frozen=True):
    connection: int


class LeaseTick(Message, frozen=True):
    """Check lease expiry: all frames received by `received_ms` (steady) were queued before."""

    received_ms: int
