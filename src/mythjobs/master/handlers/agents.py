"""What agents say: joining, heartbeats, starts and progress. Ends are in ends.py."""

from __future__ import annotations

from dataclasses import replace

from mythjobs.errors import ConfigError, NotAllowed, Taken
from mythjobs.master.attempts.completion import Ends
from mythjobs.master.attempts.late_results import Late
from mythjobs.master.requests import AgentSaid, Attach, Attached, Detached
from mythjobs.master.state import Machine, machine_from
from mythjobs.master.turn_context import Turn
from mythjobs.model.outcome import Lost, NotStarted
from mythjobs.model.units import clock_differs
from mythjobs.protocol import messages as m
from mythjobs.store.writes import machines

_MOST_COMMENT = 1000
_MOST_ZONE = 100


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
    zone = hello.zone[:_MOST_ZONE]
    machines.attach(
        turn.tx,
        machine.machine_id,
        boot_id=hello.boot_id,
        cores=hello.cores,
        zone=zone,
        at_ms=turn.now.wall_ms,
    )
    machine.boot_id, machine.cores = hello.boot_id, hello.cores
    if zone != machine.zone:
        turn.memory.plan.forget_declined(machine.machine_id)
    machine.zone, machine.can = zone, m.CAN.intersection(hello.can)
    # Grants are numbered anew: what was given before counts as known to be there, or is asked for.
    machine.live = {
        job_id: replace(each, grant_no=0, told="?", limits="?", frozen=())
        for job_id, each in machine.live.items()
    }
    machine.connection, machine.incarnation = request.connection, hello.incarnation
    machine.hb = machine.grants = 0
    machine.draining = False
    machine.heard_ms = turn.now.steady_ms
    if request.trusted and jobs is not None:
        machine.most_now = jobs
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


def said(turn: Turn, message: AgentSaid, ends: Ends, late: Late) -> None:
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
                if _is_live(machine, each.job, each.n, late):
                    ends.started(machine, each.job, each.at_ms)
            case m.Ended():
                if _is_live(machine, each.job, each.n):
                    ends.ended(machine, each)
                else:
                    late.ended(machine, each)
            case m.Progress():
                if _is_live(machine, each.job, each.n):
                    tenths = None if each.percent is None else round(10 * each.percent)
                    # A job may write anything there, and not every store can hold a NUL.
                    comment = each.comment and each.comment[:_MOST_COMMENT].replace("\0", "\ufffd")
                    ends.progress[each.job, each.n] = (tenths, comment)
            case m.Returned():
                if _is_live(machine, each.job, each.n, late):
                    _returned(turn, machine, each, ends)
            case m.Frozen():
                if _is_live(machine, each.job, each.n):
                    holders = tuple(sorted({holder[:20] for holder in each.holders[:10]}))
                    machine.live[each.job] = machine.live[each.job].with_frozen(holders)
            case m.Heartbeat():
                _heartbeat(turn, machine, each, frame.seen, ends, late)
            case _:
                pass  # offers and transfers of output, which the loop has taken already


def _returned(turn: Turn, machine: Machine, message: m.Returned, ends: Ends) -> None:
    reason = message.reason[:500].replace("\0", "\ufffd")
    closed = message.code == m.CLOSED
    if closed:
        class_id = machine.live[message.job].class_id
        turn.memory.plan.decline(machine.machine_id, class_id, turn.now.wall_ms)
    ends.never_started(machine, message.job, NotStarted(0, reason), closed=closed)


def _is_live(machine: Machine, job_id: int, n: int, late: Late | None = None) -> bool:
    """Whether this attempt is live there. `late` hears of one that is not."""
    live = machine.live.get(job_id)
    if live is not None and live.n == n:
        return True
    if late is not None:
        late.stale(machine, job_id, n)
    return False


def _heartbeat(
    turn: Turn, machine: Machine, beat: m.Heartbeat, seen: int, ends: Ends, late: Late
) -> None:
    """Renews what it holds and is still its own; concludes from what it does not hold."""
    assert machine.connection is not None
    first = machine.hb == 0
    if beat.wall_ms is not None:
        clock_ms = beat.wall_ms - turn.now.wall_ms
        if clock_differs(clock_ms - machine.clock_ms):
            # Somebody set a clock: what it said by the old one says nothing now.
            turn.memory.plan.forget_declined(machine.machine_id)
        machine.clock_ms = clock_ms
    machine.hb = max(machine.hb, beat.hb)
    held = {(each.job, each.n): each.state for each in beat.held}
    if first:
        _after_reboot(machine, held, ends)
    excepted = []
    for (job_id, n), state in held.items():
        live = machine.live.get(job_id)
        if live is not None and live.n == n:
            machine.live[job_id] = live.with_note(turn.now.steady_ms)
        elif state != "ended":
            excepted.append((job_id, n))
            late.stale(machine, job_id, n)
    turn.say(machine.connection, m.Renew(beat.hb, excepted))
    for job_id, live in list(machine.live.items()):
        here = held.get((job_id, live.n))
        if here is not None:
            if first:
                _held_again(turn, machine, job_id, here, ends)
        elif first or live.grant_no <= seen:
            _missing(turn, machine, job_id, first, ends)


def _after_reboot(machine: Machine, held: dict[tuple[int, int], str], ends: Ends) -> None:
    # Asked when the first heartbeat comes, not at the handshake: only who has read our welcome
    # sends one, so that a hello that was long under way cannot end what a later boot runs.
    for job_id, live in list(machine.live.items()):
        # What it has the end of it tells itself, with what was seen of it.
        if live.boot_id != machine.boot_id and held.get((job_id, live.n)) != "ended":
            ends.lost(machine, job_id, Lost("its machine restarted"), "observed: rebooted")


def _held_again(turn: Turn, machine: Machine, job_id: int, state: str, ends: Ends) -> None:
    """It has it still, on a new connection: what either side may have missed is made up for."""
    assert machine.connection is not None
    live = machine.live[job_id]
    if state == "running" and live.started_ms is None:
        ends.started(machine, job_id, turn.now.wall_ms)
    if live.stop_by is not None and state != "ended":
        turn.say(machine.connection, m.Stop(job_id, live.n, live.stop_by))


def _missing(turn: Turn, machine: Machine, job_id: int, first: bool, ends: Ends) -> None:
    # All that was granted on an old connection has arrived or never will, and what was granted
    # on this one it has journalled: what the machine does not hold now it never had, or lost
    # with its state.
    live = machine.live[job_id]
    if live.started_ms is not None:
        ends.lost(machine, job_id, Lost("the machine no longer knows it"), "observed: forgotten")
    elif first and live.stop_by is None and machine.takes:
        turn.again.append((machine.machine_id, job_id))
    else:
        ends.never_started(machine, job_id, NotStarted(0, "the machine never had it"))
