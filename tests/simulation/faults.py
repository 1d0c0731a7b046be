"""Fault injection: the effect of each kind of fault on the cluster."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from tests.simulation.network import DOWN, UP
from tests.simulation.plan import MASTER, Fault

if TYPE_CHECKING:
    from tests.simulation.cluster import Cluster

_DIRECTIONS: Final = {0: (UP, DOWN), 1: (UP,), 2: (DOWN,)}


def _break(cluster: Cluster, fault: Fault) -> None:
    """Reset all connections of a machine, and lose data in flight."""
    cluster.machine(fault.target).path.reset_connections()


def _cut(cluster: Cluster, fault: Fault) -> None:
    """Block the network path both ways (value 0), up (1) or down (2)."""
    path = cluster.machine(fault.target).path
    for direction in _DIRECTIONS[fault.value]:
        path.change_cuts(direction, 1)
        cluster.sim.call_later(fault.duration_ms, path.change_cuts, direction, -1)


def _slow(cluster: Cluster, fault: Fault) -> None:
    """Delay data by additional `value` ms, both ways."""
    path = cluster.machine(fault.target).path

    def add_delay(ms: int) -> None:
        for direction in (UP, DOWN):
            path.delays_ms[direction] += ms

    add_delay(fault.value)
    cluster.sim.call_later(fault.duration_ms, add_delay, -fault.value)


def _kill(cluster: Cluster, fault: Fault) -> None:
    """kill -9 of the master or of a machine's agent; restart after the duration."""
    if fault.target == MASTER:
        cluster.master.kill(fault.duration_ms)
    else:
        cluster.machine(fault.target).kill_agent(fault.duration_ms)


def _stall(cluster: Cluster, fault: Fault) -> None:
    """SIGSTOP of the master or of a machine's agent; SIGCONT after the duration."""
    machine = cluster.machine(fault.target) if fault.target else None
    process = machine.agent if machine else cluster.master.process
    if process is not None:
        process.stall(fault.duration_ms)


def _reaper(cluster: Cluster, fault: Fault) -> None:
    """kill -9 of a machine's reaper."""
    cluster.machine(fault.target).kill_reaper()


def _reboot(cluster: Cluster, fault: Fault) -> None:
    """Power cut; boot after the duration. Value 1: all unsynced data are lost."""
    host = cluster.machine(fault.target) if fault.target else cluster.master
    host.reboot(fault.duration_ms, lose_unsynced=fault.value == 1)


def _dead(cluster: Cluster, fault: Fault) -> None:
    """Power cut of a machine that never comes back."""
    cluster.machine(fault.target).destroy()


def _wall(cluster: Cluster, fault: Fault) -> None:
    """Step the wall clock by `value` ms."""
    cluster.sim.trace(_target_name(fault), f"wall clock {fault.value} ms")
    if fault.target == MASTER:
        cluster.master.clock.step_wall(fault.value)
    else:
        machine = cluster.machine(fault.target)
        machine.clock.step_wall(fault.value)
        cluster.checker.hours.on_clock_step(machine)
        cluster.checker.control.watch_end(machine)


def _full(cluster: Cluster, fault: Fault) -> None:
    """Fill the disk of the store or of a machine."""
    sim = cluster.sim
    disk = cluster.store if fault.target == MASTER else cluster.machine(fault.target).disk

    def change_full_faults(change: int) -> None:
        disk.full_faults += change

    sim.trace(_target_name(fault), f"disk full for {fault.duration_ms} ms")
    change_full_faults(1)
    sim.call_later(fault.duration_ms, change_full_faults, -1)


def _fsync(cluster: Cluster, fault: Fault) -> None:
    """Make each sync of the disk of the store or of a machine fail."""
    disk = cluster.machine(fault.target).disk if fault.target else cluster.store

    def change_failing_faults(change: int) -> None:
        disk.failing_faults += change

    change_failing_faults(1)
    cluster.sim.call_later(fault.duration_ms, change_failing_faults, -1)


def _disk(cluster: Cluster, fault: Fault) -> None:
    """Delay each sync of a machine's disk by additional `value` ms."""
    disk = cluster.machine(fault.target).disk

    def add_delay(ms: int) -> None:
        disk.extra_sync_ms += ms

    add_delay(fault.value)
    cluster.sim.call_later(fault.duration_ms, add_delay, -fault.value)


def _row(cluster: Cluster, fault: Fault) -> None:
    """Make the ready jobs of class `value` unreadable."""
    cluster.store.break_class(fault.value)
    cluster.sim.call_later(fault.duration_ms, cluster.store.break_class, None)


def _backup(cluster: Cluster, _: Fault) -> None:
    """Copy the store while the master runs."""
    cluster.restoration.back_up()


def _restore(cluster: Cluster, fault: Fault) -> None:
    """Stop the master for the duration, and restore its store from the last backup. Value 1: the
    ids that the replaced store has issued are unknown."""
    cluster.restoration.restore(fault)


def _target_name(fault: Fault) -> str:
    return f"m{fault.target}" if fault.target else "master"


KINDS: Final[dict[str, Callable[[Cluster, Fault], None]]] = {
    "break": _break,
    "cut": _cut,
    "slow": _slow,
    "kill": _kill,
    "stall": _stall,
    "reaper": _reaper,
    "reboot": _reboot,
    "dead": _dead,
    "wall": _wall,
    "full": _full,
    "disk": _disk,
    "fsync": _fsync,
    "row": _row,
    "backup": _backup,
    "restore": _restore,
}


def inject(cluster: Cluster, fault: Fault) -> None:
    cluster.sim.count(fault.kind)
    cluster.sim.trace("FAULT", f"{fault.kind} {fault.target} {fault.duration_ms}")
    KINDS[fault.kind](cluster, fault)
