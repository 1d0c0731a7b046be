"""Messages of the link, the WebSocket between master and agent.

Change docs/protocol.md first. Within a version, fields may only be added.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from msgspec import Meta, Struct, field

from mythjobs.protocol.numbers import (
    Cores,
    Count,
    Duration,
    HeartbeatInterval,
    Instant,
    Integer,
    LeaseDuration,
    Number,
    Size,
    WallInstant,
)
from mythjobs.protocol.run_spec import HoursSpec, RunSpec
from mythjobs.protocol.scaling import FootprintRow, Headroom, LoadReport, MachineDescription

VERSION: Final = 2
OLDEST_VERSION: Final = 1

# Each side closes the connection after three unanswered heartbeats, which are sent at this
# interval. A machine without messages for SILENT_AFTER_S is shown as silent.
HEARTBEAT_S: Final = 5.0
SILENT_AFTER_S: Final = 20.0
# Maximum size of a text frame; a larger one is rejected without being decoded.
MAX_FRAME_BYTES: Final = 16 * 2**20


# Values of `Hello.can`: features and limits that a machine enforces even while its agent is dead.
# Limits are those of the whole process tree; `contain` is a cgroup for each job. Some also tell
# which messages the agent knows (compatibility.py), of these `limits` nothing else.
CAPABILITIES: Final = frozenset({
    "leases", "windows", "freeze", "wall", "cpu", "idle", "memory", "output", "processes", "nice",
    "io", "contain", "pause", "limits",
})  # fmt: skip

# Value of Returned.code: the attempt's run window is closed, by the machine's clock.
HOURS_CLOSED: Final = "closed"
# Name of the holder of a freeze that a user requested (the job is paused).
USER_HOLDER: Final = "user"
# Value of Returned.code: a path of RunSpec.inputs cannot be read on the machine.
NOT_VISIBLE: Final = "not_visible"

# Handshake: one message per frame, before all other frames.


class Challenge(Struct, tag="challenge", frozen=True):
    """First message, from the master: nonce and key (32 bytes each, in hex), protocol versions."""

    nonce: str
    oldest: Number
    newest: Number
    master_key: str


class Hello(Struct, tag="hello", frozen=True):
    """The agent's answer to Challenge, signed as handshake.py says.

    zone: the machine's IANA time zone, "" if unknown. can: a subset of CAPABILITIES.
    allow: rights of the machine's own policy, as stored; "" is every command. policy: the whole
    policy as TOML tables (model/own_policy.py); None from an older agent. Fields from here on are
    not part of what is signed, as an older master does not know them: TLS protects them.
    """

    version: Number
    machine_key: str
    nonce: str
    signature: str
    name: str
    boot_id: str
    incarnation: str
    cores: Cores
    program: str = ""
    zone: str = ""
    can: list[str] = field(default_factory=list)
    allow: str = ""
    scaling: bool = False
    policy: dict[str, Any] | None = None


class Control(Struct, frozen=True):
    """Whether the machine is drained (starts no job) or paused (also freezes its jobs) until
    `until_ms` of the machine's wall clock; None: until another Control."""

    drained: bool = False
    paused: bool = False
    until_ms: WallInstant | None = None


class Welcome(Struct, tag="welcome", frozen=True):
    """The master's answer to Hello. `jobs`: slots of the machine. `footprints`: what commands use,
    for a machine that scales automatically. control: None from an older master. can: the
    master's capabilities (compatibility.py).

    `signature` covers the word "master" (handshake.py), so that an agent's own signature cannot be
    replayed to it as the master's.
    """

    version: Number
    signature: str
    machine_id: Number
    jobs: Count
    heartbeat_s: HeartbeatInterval = HEARTBEAT_S
    footprints: dict[str, FootprintRow] = field(default_factory=dict)
    control: Control | None = None
    can: list[str] = field(default_factory=list)


class Refused(Struct, tag="refused", frozen=True):
    """The master rejects the agent and closes the connection; `sentence`: why, and what to do."""

    code: str
    sentence: str


# Messages of the agent.


class HeldAttempt(Struct, frozen=True, array_like=True):
    """An attempt that the machine has. `state`: leased, running, or ended (until the master has
    acknowledged the end)."""

    job: Number
    n: Number
    state: str


# A machine has at most as many attempts as slots, and some that it starts next.
HeldAttempts = Annotated[list[HeldAttempt], Meta(max_length=2**16)]


class Heartbeat(Struct, tag="hb", frozen=True):
    """Heartbeat and request for work. Leases count from when the agent *sent* this message.

    hb: number of the heartbeat. held: all attempts in the agent's journal. wall_ms: the machine's
    wall clock, used only to show clock skew.
    """

    hb: Number
    held: HeldAttempts = field(default_factory=list)
    wall_ms: Instant | None = None


class Started(Struct, tag="started", frozen=True):
    job: Number
    n: Number
    at_ms: Instant


class Frozen(Struct, tag="frozen", frozen=True):
    """Causes that keep an attempt frozen (user, window, pressure); an empty list means thawed."""

    job: Number
    n: Number
    holders: list[str]


class Progress(Struct, tag="progress", frozen=True):
    """Progress that the job reported; None where it reported nothing.

    eta_s: seconds until the job's end, counted from when the agent sent this message.
    """

    job: Number
    n: Number
    percent: float | None = None
    comment: str | None = None
    eta_s: float | None = None


class Ended(Struct, tag="ended", frozen=True):
    """End of an attempt. `outcome` is encoded by model.outcome, `usage` by model.limits.

    output: [bytes written, head bytes kept, tail bytes kept] per stream that has output.
    later: text in the tail of the output that matched the command's regular expression
    `later`, or "".
    data: the kept bytes of each stream, in base64, if they are few and the master knows this field
    (capability `small_output`). Otherwise output is offered for a transfer.
    paused: a user had paused the attempt when it was stopped.
    """

    job: Number
    n: Number
    outcome: dict[str, str | int | bool]
    started_ms: Instant | None
    ended_ms: Instant
    usage: dict[str, float | int | bool] = field(default_factory=dict)
    output: list[tuple[Size, Size, Size]] = field(default_factory=list)
    proof: str = ""
    later: str = ""
    data: list[str] = field(default_factory=list)
    paused: bool = False


class Returned(Struct, tag="returned", frozen=True):
    """The machine did not start the attempt, and has durably recorded never to start it.

    code: HOURS_CLOSED if, by the machine's clock, the run window opens too late; NOT_VISIBLE if
    `path` cannot be read there; else "".
    """

    job: Number
    n: Number
    reason: str
    code: str = ""
    path: str = ""


class OutputOffer(Struct, tag="output_offer", frozen=True):
    """An ended attempt has output to fetch: `kept` bytes (head, then tail) of one stream."""

    job: Number
    n: Number
    stream: Number
    kept: Size


class OutputEnd(Struct, tag="output_end", frozen=True):
    """End of an output transfer. `error`: why it failed (`gone`: no such output), or ""."""

    transfer: Number
    error: str = ""
    dropped: Size = 0


AgentMessage = Heartbeat | Started | Frozen | Progress | Ended | Returned | OutputOffer | OutputEnd


class AgentFrame(Struct, frozen=True):
    """A text frame of the agent.

    no: number of the frame, increasing by one. The master sends it back as `ack` when it has
    stored the messages durably. seen: `no` of the last grant in the agent's journal. room: free
    job slots. headroom, description: as last sent, if None. footprints: those that have changed.
    load: with heartbeats, for people.
    """

    no: Number
    seen: Number
    room: Integer
    messages: list[AgentMessage]
    draining: bool = False
    headroom: Headroom | None = None
    load: LoadReport | None = None
    footprints: dict[str, FootprintRow] = field(default_factory=dict)
    description: MachineDescription | None = None


# Messages of the master.


class Grant(Struct, tag="grant", frozen=True):
    """Lease on attempt `n` of a job for the machine, in answer to heartbeat `hb`.

    no: number of the grant in its connection. lease_s, start_by_s: count from the send of `hb`;
    lease_s None is unlimited. hours: None is any time. command: name, by which the machine
    counts its running jobs if the hours limit their number.
    """

    no: Number
    hb: Number
    job: Number
    n: Number
    priority: Integer
    run: RunSpec
    silence: str = "keep"
    lease_s: LeaseDuration | None = None
    start_by_s: Duration = 900.0
    hours: HoursSpec | None = None
    command: str = ""


class HoursChanged(Struct, tag="hours", frozen=True):
    """New run windows for an attempt on the machine; None: it may run at any time."""

    job: Number
    n: Number
    hours: HoursSpec | None = None


class LimitsChanged(Struct, tag="limits", frozen=True):
    """New values of all limits of an attempt on the machine; None is no limit.

    Times count from the attempt's start. nice and io cannot change.
    """

    job: Number
    n: Number
    wall_s: Duration | None = None
    cpu_s: Duration | None = None
    idle_s: Duration | None = None
    memory_bytes: Size | None = None
    output_bytes: Size | None = None
    processes: Count | None = None
    grace_s: Duration = 10.0


# Names of the fields of RunSpec that may change while the attempt runs.
CHANGEABLE_LIMITS: Final = LimitsChanged.__struct_fields__[2:]


class Freeze(Struct, tag="freeze", frozen=True):
    """Add (`on`) or remove a freeze holder (`user`, `pressure`) of an attempt.

    An attempt is frozen, or not started, while it has at least one holder.
    """

    job: Number
    n: Number
    holder: str
    on: bool


class Renew(Struct, tag="renew", frozen=True):
    """Answer to a heartbeat: renews all leases of the machine except those in `excepted`. For a
    machine that scales automatically: waiting, commands with ready jobs; footprints, of those of
    them that other machines have run; starving, those that have waited long for room there."""

    hb: Number
    excepted: list[tuple[Number, Number]] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)
    footprints: dict[str, FootprintRow] = field(default_factory=dict)
    starving: list[str] = field(default_factory=list)


class Stop(Struct, tag="stop", frozen=True):
    """Terminate the attempt, or never start it. `by`: user or cause, shown in the outcome."""

    job: Number
    n: Number
    by: str


class Stale(Struct, tag="stale", frozen=True):
    """The attempt is not the job's latest, or has ended: the machine must stop and forget it."""

    job: Number
    n: Number


class Settings(Struct, tag="settings", frozen=True):
    """Number of jobs that may run at once; control: None leaves it unchanged."""

    jobs: Count
    control: Control | None = None


class OutputFetch(Struct, tag="output_fetch", frozen=True):
    """Request for a stream's bytes from `offset`, sent as binary frames with id `transfer`.

    follow: continue until the attempt ends. kept: offsets count within the kept bytes (head,
    then tail) instead of the whole stream. The agent sends 256 KiB, then as OutputCredit allows.
    """

    transfer: Number
    job: Number
    n: Number
    stream: Number
    offset: Number
    follow: bool = False
    kept: bool = False


class OutputCredit(Struct, tag="output_credit", frozen=True):
    transfer: Number
    bytes: Size


class OutputStop(Struct, tag="output_stop", frozen=True):
    transfer: Number


class OutputKept(Struct, tag="output_kept", frozen=True):
    """The stream's kept bytes are durable in the master: the machine may delete its copy."""

    job: Number
    n: Number
    stream: Number


MasterMessage = (
    Grant | HoursChanged | LimitsChanged | Freeze | Renew | Stop | Stale | Settings | OutputFetch
    | OutputCredit | OutputStop | OutputKept
)  # fmt: skip


class MasterFrame(Struct, frozen=True):
    """A text frame of the master. `ack`: `no` of the last agent frame stored durably, 0: none."""

    ack: Number
    messages: list[MasterMessage]
