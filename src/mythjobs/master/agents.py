"""What agents say: joining, heartbeats, starts and progress. Ends are in ends.py."""

from __future__ import annotations

from mythjobs.errors import ConfigError, NotAllowed, Taken
from mythjobs.master.ends import Ends
from mythjobs.master.inbox import AgentSaid, Attach, Attached, Detached
from mythjobs.master.memory import Live, Machine, machine_from
from mythjobs.master.turn import Turn
from mythjobs.model.outcome import Lost, NotStarted
from mythjobs.protocol import messages as m
from mythjobs.store import machines

_MOST_COMMENT = 1000


def attach(turn: Turn, request: Attach, *, rights: str, jobs: int | None) -> Attached:
    """The connection of a machine that proved its key. `rights` and `jobs` are for our own.

    Raises NotAllowed for a key that is not enrolled, Taken if the machine is connected already.
    """
    hello = request.hello
    if hello.cores < 1 or not hello.name:
        raise ConfigError("the agent names no machine, or no cores")
    machine = next((e for e in turn.memory.machines.values() if e.key == hello.machine_key), None)
    if machine is None:
        if not request.trusted:
            raise NotAllowed("this machine has not joined; machines join over the network later")
        machine = _enrol(turn, hello, rights)
    elif machine.connection is not None and machine.incarnation != hello.incarnation:
        raise Taken(f"machine {machine.name} is connected already; two agents have the same key")
    machines.attach(
        turn.tx,
        machine.machine_id,
        boot_id=hello.boot_id,
        cores=hello.cores,
        at_ms=turn.now.wall_ms,
    )
    machine.boot_id, machine.cores = hello.boot_id, hello.cores
    machine.connection, machine.incarnation = request.connection, hello.incarnation
    machine.hb = machine.grants = 0
    machine.draining = False
    machine.heard_ms = turn.now.steady_ms
    if request.trusted and jobs is not None:
        machine.ceiling = jobs
    return Attached(machine.machine_id, machine.jobs)


def _enrol(turn: Turn, hello: m.Hello, rights: str) -> Machine:
    row = machines.enrol(
        turn.tx,
        name=hello.name[:100],
        key=hello.machine_key,
        rights=rights,
        cores=hello.cores,
        boot_id=hello.boot_id,
        at_ms=turn.now.wall_ms,
    )
    machine = turn.memory.machines[row.machine_id] = machine_from(row)
    return machine


def detached(turn: Turn, message: Detached) -> None:
    machine = turn.memory.by_connection(message.connection)
    if machine is not None:
        machine.connection, machine.hb = None, 0


def said(turn: Turn, message: AgentSaid, ends: Ends) -> None:
    """One frame: notes what must be written, answers what can be answered."""
    machine = turn.memory.by_connection(message.connection)
    if machine is None:
        return
    frame = message.frame
    turn.acks[message.connection] = frame.no
    machine.heard_ms = turn.now.steady_ms
    machine.draining = frame.draining
    for each in frame.messages:
        match each:
            case m.Started():
                if _live(turn, machine, each.job, each.n) is not None:
                    ends.started(machine, each.job, each.at_ms)
            case m.Ended():
                # One that is not live was told before: the frame's ack answers it.
                if _is_live(machine, each.job, each.n):
                    ends.ended(machine, each)
            case m.Progress():
                if _is_live(machine, each.job, each.n):
                    tenths = None if each.percent is None else round(10 * each.percent)
                    comment = each.comment and each.comment[:_MOST_COMMENT]
                    ends.progress[each.job, each.n] = (tenths, comment)
            case m.Returned():
                if _live(turn, machine, each.job, each.n) is not None:
                    ends.never_started(machine, each.job, NotStarted(0, each.reason[:500]))
            case m.Heartbeat():
                _heartbeat(turn, machine, each, ends)
            case _:
                pass  # offers and transfers of output, which the loop has taken already


def _is_live(machine: Machine, job_id: int, n: int) -> bool:
    live = machine.live.get(job_id)
    return live is not None and live.n == n


def _live(turn: Turn, machine: Machine, job_id: int, n: int) -> Live | None:
    """The live attempt, or None after telling the machine that this one is stale."""
    live = machine.live.get(job_id)
    if live is not None and live.n == n:
        return live
    assert machine.connection is not None
    turn.say(machine.connection, m.Stale(job_id, n))
    return None


def _heartbeat(turn: Turn, machine: Machine, beat: m.Heartbeat, ends: Ends) -> None:
    assert machine.connection is not None
    first = machine.hb == 0
    machine.hb = beat.hb
    turn.say(machine.connection, m.Renew(beat.hb))
    if first:
        _reconcile(turn, machine, beat, ends)


def _reconcile(turn: Turn, machine: Machine, beat: m.Heartbeat, ends: Ends) -> None:
    # The connection is new: all that was granted on the old one has arrived or never will,
    # so what the machine does not hold now it never had, or lost with its state.
    assert machine.connection is not None
    held = {(each.job, each.n): each.state for each in beat.held}
    for job_id, live in list(machine.live.items()):
        state = held.pop((job_id, live.n), None)
        if state is None:
            if live.started_ms is None:
                ends.never_started(machine, job_id, NotStarted(0, "the machine never had it"))
            else:
                ends.lost(machine, job_id, Lost("the machine no longer knows it"))
        else:
            if state == "running" and live.started_ms is None:
                ends.started(machine, job_id, turn.now.wall_ms)
            if live.stop_by is not None and state != "ended":
                turn.say(machine.connection, m.Stop(job_id, live.n, live.stop_by))
    for (job_id, n), state in held.items():
        if state != "ended":
            turn.say(machine.connection, m.Stale(job_id, n))
