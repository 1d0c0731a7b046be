"""What a machine waits for: why it does not run more than it does."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any, Final

from mythjobs.clock import Now
from mythjobs.master.catalog import JobClass, class_requirements, decode_command, read_class
from mythjobs.master.explain.job import PlacementView, read_placement_view
from mythjobs.master.placement.scheduler import list_running
from mythjobs.master.state import Machine, MasterState
from mythjobs.model.bounds import NO_BOUNDS
from mythjobs.model.machine_policy import policy_to_table
from mythjobs.model.units import describe_clock_skew, is_clock_skewed
from mythjobs.protocol.messages import SILENT_S
from mythjobs.scheduler import eligibility as e
from mythjobs.scheduler.blocked import REASON_CODES, explain_wait
from mythjobs.scheduler.capacity import UsageCounts, free_slots
from mythjobs.store.queries import ready_jobs
from mythjobs.store.queries.commands import count_queued_by_command
from mythjobs.store.transaction import Transaction
from mythjobs.store.writes import commands
from mythjobs.store.writes.commands import JobClassRow

_MOST_TOLD: Final = 100


def explain_machine(tx: Transaction, memory: MasterState, name: str, now: Now) -> dict[str, Any]:
    """A code and a sentence, then for each command that waits what keeps it from here.

    Raises NoSuchMachine.
    """
    machine = memory.find_machine(name)
    view = read_placement_view(tx, memory)
    counts = count_queued_by_command(tx)
    commands: dict[str, dict[str, Any]] = {}
    for class_id in sorted(memory.placement.ready_classes | memory.classes_to_recheck)[:10_000]:
        if not ready_jobs.read_next(tx, class_id, 1):
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
    differs = describe_clock_skew(machine.clock_skew_ms)
    if differs and code != "clock_differs":
        sentence = f"{sentence}; {differs}"
    rows = sorted(commands.values(), key=lambda each: (-each.pop("rank"), each["command"]))
    return {"machine": name, "code": code, "sentence": sentence, "commands": rows[:_MOST_TOLD]}


def _keeps(
    view: PlacementView, machine: Machine, job_class: JobClass, now: Now
) -> tuple[int, str, str]:
    """How many rules are met before the first that is not, its code, and what it says."""
    ask = view.requirements(job_class)
    stopped = e.find_command_stop(ask, now.wall_ms)
    if stopped is not None:
        return -1, *stopped
    place = view.candidate(machine, job_class, now.wall_ms)
    for number, (name, check) in enumerate(e.ALL_RULES):
        why = check(ask, *place)
        if why:
            return number, REASON_CODES[name], why
    return len(e.ALL_RULES), "starting", "is about to start"


def _sentence(machine: Machine, commands: dict[str, dict[str, Any]]) -> tuple[str, str]:
    if machine.connection is None:
        return "not_connected", f"{machine.name} is not connected"
    if machine.is_draining:
        return "draining", f"{machine.name} ends what it has and takes nothing new"
    if free_slots(machine.max_jobs, len(machine.live_attempts)) <= 0:
        jobs = ", ".join(str(each) for each in sorted(machine.live_attempts)[:10])
        more = len(machine.live_attempts) - 10
        jobs += f" and {more} more" if more > 0 else ""
        busy = f"all {machine.max_jobs} places of {machine.name} are taken"
        return "no_room", f"{busy}: jobs {jobs}" if jobs else f"{machine.name} may run no jobs"
    if not commands:
        return "idle", f"{machine.name} has room, and nothing is ready that could use it"
    first = max(commands.values(), key=lambda each: (each["rank"], each["waiting"]))
    # Of the others something else may be true.
    several = f"{first['waiting']} of {first['command']} wait, the first that could run here: "
    one = f"{first['command']} waits: "
    return first["code"], (one if first["waiting"] == 1 else several) + first["detail"]


def summarize_machine(machine: Machine, now: Now) -> dict[str, Any]:
    """A machine as it is now. `leased` counts what it has, `running` what of that has started."""
    rights = machine.rights
    return {
        "id": machine.machine_id,
        "name": machine.name,
        "state": _presence(machine, now),
        "jobs": machine.max_jobs,
        "running": sum(each.started_ms is not None for each in machine.live_attempts.values()),
        "leased": len(machine.live_attempts),
        "allow": "all" if rights.mode == "all" else {rights.mode: sorted(rights.commands)},
        "cores": machine.cores,
        "last_heard_ms": machine.last_frame_ms
        and now.wall_ms - (now.steady_ms - machine.last_frame_ms),
        "boot_id": machine.boot_id,
        "clock_ms": machine.clock_skew_ms if is_clock_skewed(machine.clock_skew_ms) else 0,
    }


def _presence(machine: Machine, now: Now) -> str:
    if machine.connection is None:
        return "away"
    silent = now.steady_ms - machine.last_frame_ms > 1000 * SILENT_S
    return "silent" if silent else "up"


# What only an act of a person changes.
_STANDING = {"no_machine", *(REASON_CODES[name] for name, _ in e.POLICY_RULES)}


def read_machine(tx: Transaction, memory: MasterState, name: str, now: Now) -> dict[str, Any]:
    """A machine with all that its owner says of it. Raises NoSuchMachine."""
    found = memory.find_machine(name)
    return summarize_machine(found, now) | {
        "zone": found.policy.zone or found.zone,
        "settings": settings_of(found),
        "overrides": overrides_of(tx, memory, found, now.wall_ms),
    }


def read_semaphore_usage(tx: Transaction, memory: MasterState) -> dict[str, Any]:
    """Each with how much of it the jobs that run have taken."""
    units_of = cache(lambda class_id: read_class(tx, class_id).requirements.semaphores)
    counts = UsageCounts(list_running(memory, units_of))
    return {
        "semaphores": [
            {
                "name": name,
                "size": size,
                "used": counts.semaphore_units[name],
                "free_when_frozen": name in memory.placement.freed_by_freeze,
            }
            for name, size in sorted(memory.placement.semaphore_sizes.items())
        ]
    }


def find_placement_obstacle(tx: Transaction, memory: MasterState, name: str, now: Now) -> str:
    """Why no job of this command could ever start as things are now; "" if one could."""
    defined = commands.find_by_name(tx, name)
    if defined is None:
        return ""  # removed meanwhile
    command = decode_command(defined.definition)
    row = JobClassRow(0, defined.command_id, defined.revision_id, "", "", "", "", "", "")
    job_class = JobClass(
        0,
        defined.command_id,
        defined.revision_id,
        command,
        class_requirements(row, command),
        NO_BOUNDS,
    )
    for semaphore, units in command.semaphores:
        size = memory.placement.semaphore_sizes.get(semaphore)
        if size is None:
            return (
                f"there is no semaphore {semaphore}; make it with `mythjobs semaphore set "
                f"{semaphore} N`"
            )
        if units > size:
            return (
                f"{name} takes {units} of semaphore {semaphore}, which has {size}; `mythjobs "
                f"semaphore set {semaphore} N` makes it larger"
            )
    view = read_placement_view(tx, memory)
    places = view.candidates(job_class, now.wall_ms)
    code, sentence = explain_wait(view.requirements(job_class), places, now.wall_ms)
    never = code == REASON_CODES["window"] and all(
        moment.window is not None and moment.window.opens_ms is None for _, _, moment in places
    )
    return sentence if code in _STANDING or never else ""


def settings_of(machine: Machine) -> dict[str, object]:
    """All that is said of a machine, as the tables of its TOML."""
    whole = replace(machine.policy, jobs=machine.policy_jobs, rights=machine.rights)
    return policy_to_table(whole)


def overrides_of(
    tx: Transaction, memory: MasterState, machine: Machine, now_ms: int
) -> list[dict[str, object]]:
    """What stands above the hours of a machine now; `command` None is all of them."""
    named = commands.read_names(tx)
    return [
        {"command": named.get(command_id), "kind": kind, "until_ms": until_ms}
        for (machine_id, command_id), (kind, until_ms) in sorted(memory.placement.overrides.items())
        if machine_id == machine.machine_id and until_ms > now_ms
    ]
