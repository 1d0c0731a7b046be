"""Every message of the link. Change docs/protocol.md first; within a version only add fields."""

from __future__ import annotations

from typing import Final

from msgspec import Struct, field

VERSION: Final = 1
OLDEST: Final = 1

# A heartbeat goes every 5 s; both sides give the connection up after three without an answer.
HEARTBEAT_S: Final = 5.0
SILENT_S: Final = 20.0
# A text frame is refused unread above this.
MOST_FRAME_BYTES: Final = 16 * 2**20


# What a machine may say in `Hello.can` that it enforces by itself, its agent dead included. A
# limit is only in it if it holds for the whole process tree; `contain` is a cgroup of its own.
CAN: Final = frozenset(
    {
        "leases",
        "windows",
        "freeze",
        "wall",
        "cpu",
        "idle",
        "memory",
        "output",
        "processes",
        "nice",
        "io",
        "contain",
    }
)

# Returned.code of what was granted while this machine's own hours were closed.
CLOSED: Final = "closed"

# The handshake: one message a frame, before anything else.


class Challenge(Struct, tag="challenge", frozen=True):
    """Master, first. nonce and master_key are hex, 32 bytes each."""

    nonce: str
    oldest: int
    newest: int
    master_key: str


class Hello(Struct, tag="hello", frozen=True):
    """Agent. The signature covers role "machine", both nonces, both keys (handshake.py).

    zone: the machine's IANA time zone, "" if it does not know. can: what this machine enforces
    by itself; empty from an agent that is older than this field. See CAN.
    """

    version: int
    machine_key: str
    nonce: str
    signature: str
    name: str
    boot_id: str
    incarnation: str
    cores: int
    program: str = ""
    zone: str = ""
    can: list[str] = field(default_factory=list)


class Welcome(Struct, tag="welcome", frozen=True):
    """Master. Signed in the role "master"; `jobs` is the ceiling of this machine."""

    version: int
    signature: str
    machine_id: int
    jobs: int
    heartbeat_s: float = HEARTBEAT_S


class Refused(Struct, tag="refused", frozen=True):
    """Master, and closes: the sentence says why and what to do."""

    code: str
    sentence: str


# From the agent.


class Held(Struct, frozen=True, array_like=True):
    """One attempt that the machine has: `leased`, `running`, or `ended` and unacknowledged."""

    job: int
    n: int
    state: str


class Heartbeat(Struct, tag="hb", frozen=True):
    """Also the request for work. `held` is everything the machine has, once its journal is
    read; the agent notes when it *sent* this, and leases count from there. wall_ms is its clock
    on the wall then, by which it tells its hours; nothing is counted by it."""

    hb: int
    held: list[Held] = field(default_factory=list)
    wall_ms: int | None = None


class Started(Struct, tag="started", frozen=True):
    job: int
    n: int
    at_ms: int


class Frozen(Struct, tag="frozen", frozen=True):
    """It is frozen by these holders now (user, window, pressure); none means that it runs."""

    job: int
    n: int
    holders: list[str]


class Progress(Struct, tag="progress", frozen=True):
    job: int
    n: int
    percent: float | None = None
    comment: str | None = None
    eta_s: float | None = None


class Ended(Struct, tag="ended", frozen=True):
    """`outcome` as model.outcome has it, `usage` as model.limits. `output` is a list of
    [bytes written, head kept, tail kept], one for each stream that wrote anything. `later` is
    what of the output's tail the command's `later` matched, "" if nothing did."""

    job: int
    n: int
    outcome: dict[str, str | int | bool]
    started_ms: int | None
    ended_ms: int
    usage: dict[str, float | int | bool] = field(default_factory=dict)
    output: list[tuple[int, int, int]] = field(default_factory=list)
    proof: str = ""
    later: str = ""


class Returned(Struct, tag="returned", frozen=True):
    """Never started, and a durable mark on the machine says it never will be. code "closed": its
    hours are closed by the machine's own clock, and do not open in time."""

    job: int
    n: int
    reason: str
    code: str = ""


class OutputOffer(Struct, tag="output_offer", frozen=True):
    """The attempt is over and this stream's kept bytes (head, then tail) wait to be taken."""

    job: int
    n: int
    stream: int
    kept: int


class OutputEnd(Struct, tag="output_end", frozen=True):
    """No more bytes come on this transfer; `error` is empty, or says why (`gone`)."""

    transfer: int
    error: str = ""
    dropped: int = 0


AgentMessage = Heartbeat | Started | Frozen | Progress | Ended | Returned | OutputOffer | OutputEnd


class AgentFrame(Struct, frozen=True):
    """One text frame of the agent. `no` rises by one; the master's `ack` of it says that all
    in it is durable. `seen` is the last grant number that the agent has journalled."""

    no: int
    seen: int
    room: int
    messages: list[AgentMessage]
    draining: bool = False


# From the master.


class Run(Struct, frozen=True):
    """What to run. `env` is what is added to the base environment of the job's user;
    `bare_env` says that it is the whole environment. `stdin` is a path, "" for /dev/null.

    Limits are of the whole process tree, None is no limit. io: "idle", "best-effort:0" to
    "best-effort:7", or "" for the machine's own. contain: in a cgroup of its own.
    best_effort: run it also where a limit can only be kept by looking now and then.
    leave_daemons: what it leaves behind is reported, not ended. later: a regular expression
    that is searched for in the kept tail of the output when it did not succeed.
    """

    argv: list[str]
    env: dict[str, str] = field(default_factory=dict)
    bare_env: bool = False
    cwd: str = ""
    stdin: str = ""
    scratch: bool = False
    separate_stderr: bool = False
    progress: str = ""
    wall_s: float | None = None
    grace_s: float = 10.0
    keep: tuple[int, int] = (4 * 2**20, 12 * 2**20)
    cpu_s: float | None = None
    idle_s: float | None = None
    memory_bytes: int | None = None
    output_bytes: int | None = None
    processes: int | None = None
    nice: int = 0
    io: str = ""
    contain: bool = False
    best_effort: bool = False
    leave_daemons: bool = False
    later: str = ""


class Hours(Struct, frozen=True):
    """When an attempt may run, and what the machine does by itself when that ends.

    sets: the command's ranges, the machine's, and those of the command on this machine, as
    their authors wrote them; all must be open, an empty one always is. closing: finish,
    freeze, requeue or terminate. overrides: `allow` or `pause` until a wall instant in ms.
    """

    sets: list[list[str]] = field(default_factory=list)
    zone: str = ""
    closing: str = "finish"
    grace_s: float = 10.0
    overrides: list[tuple[str, int]] = field(default_factory=list)


class Grant(Struct, tag="grant", frozen=True):
    """The right to attempt n of a job, under heartbeat `hb`. `no` rises within a connection.
    lease_s None is for ever; start_by_s counts, as the lease does, from the send of `hb`.
    hours None: it may run at any hour, and nothing closes. `command` is the command's name, by
    which the machine counts where hours let only some run."""

    no: int
    hb: int
    job: int
    n: int
    priority: int
    run: Run
    silence: str = "keep"
    lease_s: float | None = None
    start_by_s: float = 900.0
    hours: Hours | None = None
    command: str = ""


class HoursChanged(Struct, tag="hours", frozen=True):
    """Other hours for an attempt that the machine holds; None for none."""

    job: int
    n: int
    hours: Hours | None = None


class LimitsChanged(Struct, tag="limits", frozen=True):
    """Other limits for an attempt that the machine holds, all of them; None is no limit. They count
    from its start all the same. nice and io stay as they were at its start."""

    job: int
    n: int
    wall_s: float | None = None
    cpu_s: float | None = None
    idle_s: float | None = None
    memory_bytes: int | None = None
    output_bytes: int | None = None
    processes: int | None = None
    grace_s: float = 10.0


# The limits by name: those of a Run that may change while it runs.
LIMITS: Final = LimitsChanged.__struct_fields__[2:]


class Freeze(Struct, tag="freeze", frozen=True):
    """Freeze an attempt for this holder (`user`, `pressure`), or let it go. It stands still
    while anyone holds it; one that has not started does not start so long."""

    job: int
    n: int
    holder: str
    on: bool


class Renew(Struct, tag="renew", frozen=True):
    """Answers a heartbeat: every lease the machine holds is renewed, but for `excepted`."""

    hb: int
    excepted: list[tuple[int, int]] = field(default_factory=list)


class Stop(Struct, tag="stop", frozen=True):
    """End this attempt if it runs, never start it if it does not. `by` goes into the outcome."""

    job: int
    n: int
    by: str


class Stale(Struct, tag="stale", frozen=True):
    """This attempt is not the job's last one or is over: stop it if it runs, forget it if not."""

    job: int
    n: int


class Settings(Struct, tag="settings", frozen=True):
    jobs: int


class OutputFetch(Struct, tag="output_fetch", frozen=True):
    """Send a stream's bytes from `offset` as binary frames marked `transfer`; with `follow`,
    until the attempt is over. `kept` asks for the kept bytes (head then tail) instead of the
    stream's own offsets. At most 256 KiB are under way until `output_credit` says more."""

    transfer: int
    job: int
    n: int
    stream: int
    offset: int
    follow: bool = False
    kept: bool = False


class OutputCredit(Struct, tag="output_credit", frozen=True):
    transfer: int
    bytes: int


class OutputStop(Struct, tag="output_stop", frozen=True):
    transfer: int


class OutputKept(Struct, tag="output_kept", frozen=True):
    """This stream's kept bytes are durable at the master: the machine may drop its copy."""

    job: int
    n: int
    stream: int


MasterMessage = (
    Grant
    | HoursChanged
    | LimitsChanged
    | Freeze
    | Renew
    | Stop
    | Stale
    | Settings
    | OutputFetch
    | OutputCredit
    | OutputStop
    | OutputKept
)


class MasterFrame(Struct, frozen=True):
    """One text frame of the master; `ack` is the last agent frame that is durable, 0 for none."""

    ack: int
    messages: list[MasterMessage]
