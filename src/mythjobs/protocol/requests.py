"""Requests of the HTTP API and some of their results, described in docs/api.md."""

from __future__ import annotations

from typing import Final, Literal

from msgspec import Struct, field

MAX_BATCH_BYTES: Final = 64 * 2**20
MAX_BATCH_JOBS: Final = 100_000
MAX_REQUEST_BYTES: Final = 4 * 2**20


class Dependency(Struct, frozen=True, forbid_unknown_fields=True):
    """The job waits for another job's success (`ok`), end (`any`) or failure (`failure`)."""

    job: int
    when: Literal["ok", "any", "failure"] = "ok"


class AdHocRun(Struct, frozen=True, forbid_unknown_fields=True):
    """Program of an ad-hoc job (`mythjobs run`), for the built-in command `run`.

    retry: run the job again if its machine or reaper fails, as is done with all other jobs.
    best_effort: as in a definition.
    progress: how its progress is found: a preset (model/progress.py), or `regex:` with a regular
    expression.
    """

    argv: list[str]
    env: dict[str, str] = field(default_factory=dict)
    cwd: str = "/"
    wall_s: float | None = None
    retry: bool = False
    progress: str = ""
    best_effort: bool = False


class Submit(Struct, frozen=True, forbid_unknown_fields=True):
    """Request to submit a job. Command "run" requires `run`; others take `arguments`.

    deadline_ms: cancel the job if it has not started by then. machine: the only machine to run
    on. await_machine: submit the job also if no machine named `machine` has joined yet. prefer: the
    machine to prefer while it has free slots. labels and semaphores are added to the command's.
    limits: as in a definition's [limits]; they can only tighten its limits.
    """

    command: str
    arguments: dict[str, str | int | float] = field(default_factory=dict)
    subject: str | None = None
    priority: int = 0
    after: list[Dependency] = field(default_factory=list)
    key: str | None = None
    hold: bool = False
    not_before_ms: int | None = None
    comment: str = ""
    run: AdHocRun | None = None
    deadline_ms: int | None = None
    machine: str = ""
    prefer: str = ""
    labels: list[str] = field(default_factory=list)
    semaphores: dict[str, int] = field(default_factory=dict)
    limits: dict[str, str | int] = field(default_factory=dict)
    await_machine: bool = False


class Submitted(Struct, frozen=True):
    """Result of a submit. new: false if a job with this `key` exists. reason: why the job waits."""

    id: int
    state: str
    new: bool
    reason: str


class BatchSubmit(Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of all jobs of a batch. Each job's arguments follow as one line of JSON."""

    command: str
    priority: int = 0
    subject: str | None = None
    hold: bool = False
    comment: str = ""
    machine: str = ""
    prefer: str = ""
    labels: list[str] = field(default_factory=list)
    semaphores: dict[str, int] = field(default_factory=dict)
    limits: dict[str, str | int] = field(default_factory=dict)
    not_before_ms: int | None = None
    deadline_ms: int | None = None
    await_machine: bool = False


class JobIds(Struct, frozen=True, forbid_unknown_fields=True):
    """Jobs to act on (cancel, hold, …). The action is done for each job whose state allows it."""

    ids: list[int]


class JobPriority(Struct, frozen=True, forbid_unknown_fields=True):
    """Priority for the given jobs, of those that are queued."""

    ids: list[int]
    priority: int


class JobActionResult(Struct, frozen=True):
    """Result of an action on one job. done: the effect (`cancelled`, `stopping`, …), or "" and an
    `error`. changed: false if nothing changed, because of an error or as the effect was there
    already."""

    id: int
    state: str
    done: str
    error: str = ""
    changed: bool = True


class CommandDefinition(Struct, frozen=True, forbid_unknown_fields=True):
    """Definition of a command, as TOML tables. `replace`: replace it if the command exists."""

    definition: dict[str, object]
    replace: bool = False


class DefineResult(Struct, frozen=True):
    name: str
    revision: int
    changed: bool


class MachineSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """All settings of a machine, as in the TOML of `mythjobs machine edit`. Settings that are
    omitted get their defaults."""

    settings: dict[str, object]


class HoursOverride(Struct, frozen=True, forbid_unknown_fields=True):
    """Temporary opening or closing of a machine's run windows, or of one command's there.

    `allow` and `pause` apply until `until_ms`; `hours` removes the override.
    """

    kind: Literal["allow", "pause", "hours"]
    until_ms: int | None = None
    command: str | None = None


class SemaphoreSize(Struct, frozen=True, forbid_unknown_fields=True):
    """Size of a semaphore; None removes the semaphore.

    free_when_frozen: a frozen job releases its units and takes them again when thawed; None keeps
    the current setting.
    """

    size: int | None
    free_when_frozen: bool | None = None


class EnableRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Enable or disable a command: whether its jobs may start. Running jobs continue.

    until_ms: when a disabled command is enabled again; None: by a request only.
    """

    on: bool
    until_ms: int | None = None
