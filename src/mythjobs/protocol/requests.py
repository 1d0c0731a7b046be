"""What a user may ask of the master, and what comes back; docs/api.md is its text."""

from __future__ import annotations

from typing import Final, Literal

from msgspec import Struct, field

MOST_BATCH_BYTES: Final = 64 * 2**20
MOST_BATCH_JOBS: Final = 100_000
MOST_REQUEST_BYTES: Final = 4 * 2**20


class After(Struct, frozen=True, forbid_unknown_fields=True):
    """A dependency on another job: that it succeeded (`ok`), ended (`any`), failed (`failure`)."""

    job: int
    when: Literal["ok", "any", "failure"] = "ok"


class AdHoc(Struct, frozen=True, forbid_unknown_fields=True):
    """What `mythjobs run` runs: the job's own data, for the built-in command `run`."""

    argv: list[str]
    env: dict[str, str] = field(default_factory=dict)
    cwd: str = "/"
    wall_s: float | None = None


class Submit(Struct, frozen=True, forbid_unknown_fields=True):
    """One job. `command` "run" goes with `run`, any other with `arguments`.

    deadline_ms: cancelled if it has not started by then. machine: it runs nowhere else;
    prefer: there if it has room. labels and semaphores come to those of the command, limits
    (as [limits] has them) only make its own tighter.
    """

    command: str
    arguments: dict[str, str | int | float] = field(default_factory=dict)
    subject: str | None = None
    priority: int = 0
    after: list[After] = field(default_factory=list)
    key: str | None = None
    hold: bool = False
    not_before_ms: int | None = None
    comment: str = ""
    run: AdHoc | None = None
    deadline_ms: int | None = None
    machine: str = ""
    prefer: str = ""
    labels: list[str] = field(default_factory=list)
    semaphores: dict[str, int] = field(default_factory=dict)
    limits: dict[str, str | int] = field(default_factory=dict)


class Submitted(Struct, frozen=True):
    """`new` is false when the key named a job that was there. `reason` is why it waits."""

    id: int
    state: str
    new: bool
    reason: str


class BatchSubmit(Struct, frozen=True, forbid_unknown_fields=True):
    """What all jobs of a batch share, as of a single submit; the argument sets follow as JSON
    lines."""

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


class Act(Struct, frozen=True, forbid_unknown_fields=True):
    """An act on jobs. An id that cannot be acted on is told in the answer, the others are done."""

    ids: list[int]


class Acted(Struct, frozen=True):
    """For one job: its state now, what was done (`cancelled`, `stopping`, …), or why not."""

    id: int
    state: str
    done: str
    error: str = ""


class DefineCommand(Struct, frozen=True, forbid_unknown_fields=True):
    """A definition as its TOML's tables. `replace` makes a new revision of a name that is taken."""

    definition: dict[str, object]
    replace: bool = False


class Defined(Struct, frozen=True):
    name: str
    revision: int
    changed: bool


class MachineSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """All that an owner says of a machine, as the TOML of `machine edit` has it; what is left out
    is not said any more."""

    settings: dict[str, object]


class Override(Struct, frozen=True, forbid_unknown_fields=True):
    """Open a machine, or one command on it, whatever its hours say, or close it, until then.

    kind "hours" takes an override away. until_ms belongs to the other two.
    """

    kind: Literal["allow", "pause", "hours"]
    until_ms: int | None = None
    command: str | None = None


class SemaphoreSize(Struct, frozen=True, forbid_unknown_fields=True):
    """None takes the semaphore away. free_when_frozen: a frozen job gives its units back, and
    takes them again when it goes on; None leaves that as it is."""

    size: int | None
    free_when_frozen: bool | None = None


class Enable(Struct, frozen=True, forbid_unknown_fields=True):
    """Whether jobs of a command may start. Those that run go on."""

    on: bool
