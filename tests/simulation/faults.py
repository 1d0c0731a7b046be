"""What can go wrong, and what each kind of fault does to the cluster."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from tests.simulation.plan import MASTER, Fault
from tests.simulation.wire import DOWN, UP

if TYPE_CHECKING:
    from tests.simulation.cluster import Cluster


def _ways(fault: Fault) -> tuple[int, ...]:
    return {0: (UP, DOWN), 1: (UP,), 2: (DOWN,)}[fault.value]


def _break(cluster: Cluster, fault: Fault) -> None:
    """The connections of a machine break, with what is under way on them."""
    cluster.machine(fault.who).path.reset()


def _cut(cluster: Cluster, fault: Fault) -> None:
    """Nothing comes through for so long: both ways (value 0), up (1) or down (2)."""
    path = cluster.machine(fault.who).path
    for way in _ways(fault):
        path.set_cut(way, 1)
        cluster.world.after(fault.for_ms, path.set_cut, way, -1)


def _slow(cluster: Cluster, fault: Fault) -> None:
    """All takes `value` ms longer, both ways."""
    path = cluster.machine(fault.who).path

    def slower(ms: int) -> None:
        for way in (UP, DOWN):
            path.slow_ms[way] += ms

    slower(fault.value)
    cluster.world.after(fault.for_ms, slower, -fault.value)


def _kill(cluster: Cluster, fault: Fault) -> None:
    """kill -9 of the master, or of a machine's agent; it comes again after `for_ms`."""
    if fault.who == MASTER:
        cluster.master.kill(fault.for_ms)
    else:
        cluster.machine(fault.who).kill_agent(fault.for_ms)


def _stall(cluster: Cluster, fault: Fault) -> None:
    """SIGSTOP, and SIGCONT after `for_ms`."""
    machine = cluster.machine(fault.who) if fault.who else None
    process = machine.agent if machine else cluster.master.process
    if process is not None:
        process.stall(fault.for_ms)


def _reaper(cluster: Cluster, fault: Fault) -> None:
    """kill -9 of a machine's reaper."""
    cluster.machine(fault.who).kill_reaper()


def _reboot(cluster: Cluster, fault: Fault) -> None:
    """A power cut, another boot after `for_ms`; value 1: what was not synced is lost."""
    cluster.machine(fault.who).reboot(fault.for_ms, all_lost=fault.value == 1)


def _wall(cluster: Cluster, fault: Fault) -> None:
    """Somebody sets the wall clock by `value` ms."""
    cluster.world.say(f"m{fault.who}" if fault.who else "master", f"wall clock {fault.value} ms")
    if fault.who == MASTER:
        cluster.master.clock.jump(fault.value)
    else:
        machine = cluster.machine(fault.who)
        machine.clock.jump(fault.value)
        cluster.witness.hours.clock_set(machine)


def _full(cluster: Cluster, fault: Fault) -> None:
    """The disk of the store, or of a machine, takes nothing for so long."""
    world = cluster.world
    if fault.who == MASTER:
        store = cluster.store

        def fill(more: int) -> None:
            store.filled += more

    else:
        disk = cluster.machine(fault.who).disk

        def fill(more: int) -> None:
            disk.full += more

    world.say(f"m{fault.who}" if fault.who else "master", f"disk full for {fault.for_ms} ms")
    fill(1)
    world.after(fault.for_ms, fill, -1)


def _disk(cluster: Cluster, fault: Fault) -> None:
    """Each sync of a machine's disk takes `value` ms longer."""
    disk = cluster.machine(fault.who).disk

    def slower(ms: int) -> None:
        disk.slow_ms += ms

    slower(fault.value)
    cluster.world.after(fault.for_ms, slower, -fault.value)


KINDS: Final[dict[str, Callable[[Cluster, Fault], None]]] = {
    "break": _break,
    "cut": _cut,
    "slow": _slow,
    "kill": _kill,
    "stall": _stall,
    "reaper": _reaper,
    "reboot": _reboot,
    "wall": _wall,
    "full": _full,
    "disk": _disk,
}


def happen(cluster: Cluster, fault: Fault) -> None:
    cluster.world.count(fault.kind)
    cluster.world.say("FAULT", " ".join(map(str, (fault.kind, fault.who, fault.for_ms))))
    KINDS[fault.kind](cluster, fault)
