"""What a machine waits for: why it does not run more than it does."""

from __future__ import annotations

from typing import Any, Final

from mythjobs.clock import Now
from mythjobs.master.catalog import JobClass, read_class
from mythjobs.master.explain.job import View, view_of
from mythjobs.master.state import Machine, Memory
from mythjobs.model.units import clock_said
from mythjobs.scheduler import eligibility as e
from mythjobs.scheduler.blocked import CODES
from mythjobs.scheduler.capacity import room
from mythjobs.store.queries import ready_jobs
from mythjobs.store.queries.waiting import waiting
from mythjobs.store.statement import Transaction

_MOST_TOLD: Final = 100


def why_machine(tx: Transaction, memory: Memory, name: str, now: Now) -> dict[str, Any]:
    """A code and a sentence, then for each command that waits what keeps it from here.

    Raises NoSuchMachine.
    """
    machine = memory.machine(name)
    view = view_of(tx, memory)
    counts = waiting(tx)
    commands: dict[str, dict[str, Any]] = {}
    for class_id in sorted(memory.plan.ready | memory.waking)[:10_000]:
        if not ready_jobs.next_of_class(tx, class_id, 1):
            continue  # it may have had one, and nobody has looked since
        job_class = read_class(tx, class_id)
        command = job_class.command.name
        told = _keeps(view, machine, job_class, now)
        # Of several classes of a command the one that comes furthest says most.
        if command not in commands or told[0] > commands[command]["rank"]:
            commands[command] = {
                "command": command,
                "waiting": counts.get(job_class.command_id, 0),
                "rank": told[0],
                "code": told[1],
                "detail": told[2],
            }
    code, sentence = _sentence(machine, commands)
    differs = clock_said(machine.clock_ms)
    if differs and code != "clock_differs":
        sentence = f"{sentence}; {differs}"
    rows = sorted(commands.values(), key=lambda each: (-each.pop("rank"), each["command"]))
    return {"machine": name, "code": code, "sentence": sentence, "commands": rows[:_MOST_TOLD]}


def _keeps(view: View, machine: Machine, job_class: JobClass, now: Now) -> tuple[int, str, str]:
    """How many rules are met before the first that is not, its code, and what it says."""
    ask = view.ask(job_class)
    stopped = e.off(ask, now.wall_ms)
    if stopped is not None:
        return -1, *stopped
    place = view.place(machine, job_class, now.wall_ms)
    for number, (name, check) in enumerate(e.ALL):
        why = check(ask, *place)
        if why:
            return number, CODES[name], why
    return len(e.ALL), "starting", "is about to start"


def _sentence(machine: Machine, commands: dict[str, dict[str, Any]]) -> tuple[str, str]:
    if machine.connection is None:
        return "not_connected", f"{machine.name} is not connected"
    if machine.draining:
        return "draining", f"{machine.name} ends what it has and takes nothing new"
    if room(machine.jobs, len(machine.live)) <= 0:
        jobs = ", ".join(str(each) for each in sorted(machine.live)[:10])
        more = len(machine.live) - 10
        jobs += f" and {more} more" if more > 0 else ""
        busy = f"all {machine.jobs} places of {machine.name} are taken"
        return "no_room", f"{busy}: jobs {jobs}" if jobs else f"{machine.name} may run no jobs"
    if not commands:
        return "idle", f"{machine.name} has room, and nothing is ready that could use it"
    first = max(commands.values(), key=lambda each: (each["rank"], each["waiting"]))
    # Of the others something else may be true.
    several = f"{first['waiting']} of {first['command']} wait, the first that could run here: "
    one = f"{first['command']} waits: "
    return first["code"], (one if first["waiting"] == 1 else several) + first["detail"]
