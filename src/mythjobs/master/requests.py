"""Input of the master core: requests, which get a response, and messages, which get none."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from msgspec import Struct

from mythjobs.master.catalog import NO_REQUIREMENTS, JobRequirements
from mythjobs.protocol.job_changes import JobChanges, RerunChanges
from mythjobs.protocol.messages import AgentFrame, AgentMessage, Control, Hello
from mythjobs.protocol.requests import JobActionResult, Submit
from mythjobs.protocol.scaling import FootprintRow


class Request(Struct, frozen=True):
    """Base class of the inputs to which the master core gives a response."""


class Message(Struct, frozen=True):
    """Base class of the inputs to which the master core gives no response."""


class SubmitJob(Request, frozen=True):
    """is_serial: the dependencies are serial, see store/writes/dependencies.py."""

    submit: Submit
    submitter: str
    is_serial: bool = False


class BatchRow(Struct, frozen=True):
    """One validated job of a batch; `arguments` is the JSON text for the store."""

    arguments: str
    subject: str | None


class BeginBatch(Request, frozen=True):
    """Begin a batch: reserve consecutive ids for its `jobs` jobs. The response is a `BatchIds`."""

    command: str
    jobs: int


class BatchIds(Struct, frozen=True):
    batch_id: int
    first_job_id: int


class BatchSlice(Request, frozen=True):
    """Insert the next rows of a batch. The last slice opens the batch: its jobs become visible.

    ids: the response to `BeginBatch`; None for a batch with only one slice, which needs no
    `BeginBatch`. The response to each slice is a `BatchIds`.
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
    """Delete a batch whose submit was not completed."""

    ids: BatchIds


class CancelJobs(Request, frozen=True):
    ids: list[int]
    by: str


class SetPriority(Request, frozen=True):
    """Change the priority of queued jobs."""

    ids: list[int]
    priority: int
    by: str


class SetJobs(Request, frozen=True):
    """Change values of queued jobs."""

    ids: list[int]
    changes: JobChanges
    by: str


class HoldJobs(Request, frozen=True):
    ids: list[int]


class ReleaseJobs(Request, frozen=True):
    ids: list[int]


class RerunIds:
    """Ids of the reruns of jobs, by ascending id of these jobs; 0 for a job that was refused.

    Two arrays take a sixth of the memory of a dict: a filter can select a million jobs.
    """

    def __init__(self) -> None:
        self._old_ids = array("q")
        self._new_ids = array("q")

    def add(self, results: Iterable[JobActionResult]) -> None:
        for each in results:
            self._old_ids.append(each.id)
            self._new_ids.append(int(each.done or 0))

    def find(self, old_id: int) -> int | None:
        """Return the id of the last rerun of a job; None if the job was not added."""
        index = bisect_right(self._old_ids, old_id) - 1
        is_known = index >= 0 and self._old_ids[index] == old_id
        return self._new_ids[index] if is_known else None


class RerunJobs(Request, frozen=True):
    """Submit ended jobs again.

    ids: ascending, so that the rerun of a job has a higher id than those of the jobs it waited for.
    changes: what differs from the old jobs; None: nothing but the submitter.
    earlier: reruns of the jobs in earlier slices of the same request of a user.
    """

    ids: list[int]
    submitter: str
    changes: RerunChanges | None = None
    earlier: RerunIds | None = None


class DefineCommand(Request, frozen=True):
    definition: dict[str, object]
    replace: bool


class RemoveCommand(Request, frozen=True):
    name: str


class SetMachine(Request, frozen=True):
    """Change some of a machine's settings; None leaves a setting unchanged.

    allow: "all" or a list of command names. jobs: "auto" removes the limit. command: to which
    `jobs` applies; None: to all jobs of the machine. labels, no_labels: those to give the machine
    and to take from it, in addition to earlier ones.
    """

    name: str
    jobs: int | Literal["auto"] | None = None
    allow: str | list[str] | None = None
    deny: list[str] | None = None
    zone: str | None = None
    labels: Sequence[str] = ()
    no_labels: Sequence[str] = ()
    command: str | None = None


class ControlMachine(Request, frozen=True):
    """Drain, pause (until `until_ms`, None: without end) or resume a machine."""

    name: str
    action: str
    until_ms: int | None = None


class InviteMachine(Request, frozen=True):
    """Let one machine join with the secret of this SHA-256, until `expires_ms`.

    allow: commands that it may run, "all" or a list of names. name: its name; "" leaves the choice
    to the machine.
    """

    invitation_id: int
    secret_hash: str
    allow: str | list[str]
    name: str
    expires_ms: int


class AcceptInvitation(Request, frozen=True):
    """Enroll the machine that sends an invitation's secret.

    The response is a `JoinedMachine`, None if the invitation is not valid.
    """

    invitation_id: int
    secret_hash: str
    machine_key: str
    name: str


class ApproveMachine(Request, frozen=True):
    """Enroll a machine whose key a person has verified. The response is a `JoinedMachine`."""

    machine_key: str
    name: str
    allow: str | list[str]


class JoinedMachine(Struct, frozen=True):
    """A machine that joins. is_new: false if it had joined before; then its name and its rights
    are those that it had."""

    machine_id: int
    name: str
    is_new: bool


class RevokedMachine(NamedTuple):
    """connection: number of the machine's open connection, or None."""

    key: str
    connection: int | None


class RenameMachine(Request, frozen=True):
    name: str
    new_name: str


class RevokeMachine(Request, frozen=True):
    """Refuse a machine's key from now on. The response is the number of its open connection, None
    if there is none."""

    name: str


class EditMachine(Request, frozen=True):
    """Replace all settings of a machine by the table that `mythjobs machine edit` shows."""

    name: str
    settings: dict[str, object]


class OverrideHours(Request, frozen=True):
    """Override a machine's run windows until `until_ms` (wall clock).

    kind: "allow" opens them, "pause" closes them, "hours" removes the override.
    command: None means every command.
    """

    name: str
    kind: str
    until_ms: int | None = None
    command: str | None = None


class SetSemaphore(Request, frozen=True):
    """Create or resize a semaphore; `size` None deletes it.

    free_when_frozen: frozen jobs release their units; None leaves this setting unchanged.
    """

    name: str
    size: int | None
    free_when_frozen: bool | None = None


class EnableCommand(Request, frozen=True):
    """until_ms: end of a disabling, None: until the command is enabled. by: who disables it."""

    name: str
    enabled: bool
    until_ms: int | None = None
    by: str = ""


class DeclareDead(Request, frozen=True):
    """Declare a machine dead: the processes of its jobs have ended and will not come back."""

    name: str
    by: str
    reason: str


class FreezeJobs(Request, frozen=True):
    """Freeze or thaw running jobs for a user."""

    ids: list[int]
    frozen: bool


class DeleteJobs(Request, frozen=True):
    """Delete the given jobs, except jobs of an open batch and jobs that an open job depends on.

    The response is the number of deleted jobs.
    """

    ids: list[int]


class DiscardOutput(Request, frozen=True):
    """Record that the output of attempts (job id, attempt number) was deleted.

    The response is the size of that output in bytes.
    """

    attempts: list[tuple[int, int]]


class DeleteAttempts(Request, frozen=True):
    """Delete the attempts 1 to `last_n` of a job that has not ended."""

    job: int
    last_n: int


class BeginClassSweep(Request, frozen=True):
    """Begin a sweep for unused job classes: from now on, note the classes that get new jobs."""


class DeleteClasses(Request, frozen=True):
    """Delete job classes that had no jobs when the sweep began, except those with jobs since."""

    ids: list[int]


class Attach(Request, frozen=True):
    """Bind a connection to the machine whose key the agent has proved to have.

    trusted: the agent connected through the Unix socket in the master's state directory.
    """

    hello: Hello
    trusted: bool
    connection: int


class Attached(Struct, frozen=True):
    """name: of the machine at the master, whatever its hello says."""

    machine_id: int
    jobs: int
    name: str
    footprints: dict[str, FootprintRow] = {}
    control: Control | None = None


class FrameReceived(Message, frozen=True):
    connection: int
    frame: AgentFrame


class FailedMessage(Message, frozen=True):
    """An agent's message that the master failed to handle, to be skipped in a turn of its own."""

    connection: int
    frame_no: int  # number of the frame to acknowledge
    message: AgentMessage
    error: str


class Detached(Message, frozen=True):
    """A connection has ended. by_agent: the agent has closed it, as at its exit."""

    connection: int
    by_agent: bool = False


class LeaseTick(Message, frozen=True):
    """Check for expired leases.

    received_ms: instant (monotonic clock) up to which all received frames were queued before this
    message.
    """

    received_ms: int
