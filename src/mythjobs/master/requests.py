"""Everything that can arrive at the master's core. A request is answered, a message is not."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from mythjobs.master.asks import NO_WORDS, OwnWords
from mythjobs.protocol.messages import AgentFrame, Hello
from mythjobs.protocol.requests import Submit


class SubmitJob(Struct, frozen=True):
    submit: Submit
    submitter: str


class BatchRow(Struct, frozen=True):
    """One job of a batch, checked: its arguments as stored, and its subject."""

    arguments: str
    subject: str | None


class BeginBatch(Struct, frozen=True):
    """Reserves consecutive numbers for `jobs` jobs; answered with a `BatchPlace`."""

    command: str
    jobs: int


class BatchPlace(Struct, frozen=True):
    batch: int
    first: int


class BatchSlice(Struct, frozen=True):
    """The next rows of a batch; one that is a single slice needs no place reserved before.
    The last slice opens it, and all are answered with the place."""

    place: BatchPlace | None
    command: str
    revision_id: int
    submitter: str
    offset: int
    rows: Sequence[BatchRow]
    priority: int
    hold: bool
    comment: str
    last: bool
    words: OwnWords = NO_WORDS
    not_before_ms: int | None = None
    deadline_ms: int | None = None


class DropBatch(Struct, frozen=True):
    """A batch that did not become whole is taken away again."""

    place: BatchPlace


class CancelJobs(Struct, frozen=True):
    ids: list[int]
    by: str


class HoldJobs(Struct, frozen=True):
    ids: list[int]


class ReleaseJobs(Struct, frozen=True):
    ids: list[int]


class RerunJobs(Struct, frozen=True):
    ids: list[int]
    submitter: str


class Define(Struct, frozen=True):
    definition: dict[str, object]
    replace: bool


class RemoveCommand(Struct, frozen=True):
    name: str


class SetMachine(Struct, frozen=True):
    """`allow` is "all" or command names; what is None stays as it is."""

    name: str
    jobs: int | None = None
    allow: str | list[str] | None = None
    deny: list[str] | None = None
    zone: str | None = None


class EditMachine(Struct, frozen=True):
    """`settings` as the TOML of `machine edit` has them; they replace all that was said."""

    name: str
    settings: dict[str, object]


class OverrideHours(Struct, frozen=True):
    """`kind` allow or pause until a wall instant, or hours: none of it any more. `command` None
    is every command of the machine."""

    name: str
    kind: str
    until_ms: int | None = None
    command: str | None = None


class SetSemaphore(Struct, frozen=True):
    """`size` None takes it away; `free_when_frozen` None leaves that as it is."""

    name: str
    size: int | None
    free_when_frozen: bool | None = None


class EnableCommand(Struct, frozen=True):
    name: str
    on: bool


class DeclareDead(Struct, frozen=True):
    """A person's word that a machine runs nothing any more and will not come back with it."""

    name: str
    by: str
    reason: str


class FreezeJobs(Struct, frozen=True):
    """Running jobs stand still for their user, or go on."""

    ids: list[int]
    on: bool


class PruneJobs(Struct, frozen=True):
    """Of the next `most` jobs after number `above`, those that ended before an instant in one of
    these states are deleted; answered with a `store.prune.Slice`."""

    before_ms: int
    states: list[str]
    above: int
    most: int


class Attach(Struct, frozen=True):
    """A machine proved its key on a connection. `trusted`: it came through the own socket."""

    hello: Hello
    trusted: bool
    connection: int


class Attached(Struct, frozen=True):
    machine_id: int
    jobs: int


Request = (
    SubmitJob
    | BeginBatch
    | BatchSlice
    | DropBatch
    | CancelJobs
    | HoldJobs
    | ReleaseJobs
    | RerunJobs
    | Define
    | RemoveCommand
    | SetMachine
    | EditMachine
    | OverrideHours
    | SetSemaphore
    | EnableCommand
    | DeclareDead
    | FreezeJobs
    | PruneJobs
    | Attach
)


class AgentSaid(Struct, frozen=True):
    connection: int
    frame: AgentFrame


class Detached(Struct, frozen=True):
    connection: int


class Tick(Struct, frozen=True):
    """All that had arrived by this instant (steady) was posted before this: what is not heard
    of by now was not said."""

    read_ms: int


Message = AgentSaid | Detached | Tick
