"""Grants: leases the jobs that placement has chosen, and sends the grants to the machines."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import islice
from types import MappingProxyType
from typing import Final

import msgspec

from mythjobs.master.catalog import JobClass
from mythjobs.master.isolation import Unit
from mythjobs.master.machine import LiveAttempt, Machine
from mythjobs.master.metrics.observation import JobWait
from mythjobs.master.placement.fit_cache import GrantTerms
from mythjobs.master.turn_context import TurnContext
from mythjobs.model.arguments import fill_argv, fill_stdin, parameter_environment
from mythjobs.model.bounds import Bounds
from mythjobs.model.command import RUN, Command
from mythjobs.model.life import JobState
from mythjobs.model.path_map import translate_path
from mythjobs.model.units import MAX_DURATION_S
from mythjobs.model.window import Hours
from mythjobs.protocol import messages as m
from mythjobs.protocol.lease_timing import DEFAULT_LEASE_S, start_window_s
from mythjobs.protocol.requests import AdHocRun
from mythjobs.protocol.run_spec import HoursSpec, RunSpec
from mythjobs.scheduler.eligibility import EffectiveSettings, may_ever_run
from mythjobs.scheduler.silence_policy import choose_lease_terms
from mythjobs.store.writes import job_state, jobs, readiness

_decode_arguments: Final = msgspec.json.Decoder(dict[str, str]).decode
_NO_PATHS: Final[Mapping[str, str]] = MappingProxyType({})


def find_terms(
    turn: TurnContext, machine: Machine, job_class: JobClass, settings: EffectiveSettings
) -> GrantTerms:
    """Return the terms on which a machine gets jobs of a class."""
    known = turn.fits.find_terms(machine, job_class)
    if known is None:
        known = _build_terms(turn, machine, job_class, settings)
        turn.fits.add_terms(machine, job_class, known)
    return known


def _build_terms(
    turn: TurnContext, machine: Machine, job_class: JobClass, settings: EffectiveSettings
) -> GrantTerms:
    command = job_class.command
    silence, lease_s = choose_lease_terms(
        command.silence,
        command.lease_s,
        default_lease_s=DEFAULT_LEASE_S,
        eligible_machines=0 if command.silence else _count_eligible(turn, job_class),
        can_enforce_lease="leases" in machine.capabilities,
    )
    bounds = settings.bounds
    run = build_common_run(command, bounds, machine.capabilities)
    return GrantTerms(settings.hours, bounds.limits(), silence, lease_s, run)


def _count_eligible(turn: TurnContext, job_class: JobClass) -> int:
    """Return the number of machines, connected or not, that rights, pin and labels allow: 2 if it
    is more, as only one is a special case."""
    requirements = job_class.requirements
    machines = turn.state.machines.values()
    eligible = (each for each in machines if may_ever_run(requirements, each.facts()))
    return sum(1 for _ in islice(eligible, 2))


def lease_jobs(turn: TurnContext, chosen: dict[int, tuple[Machine, GrantTerms]]) -> set[int]:
    """Lease and grant jobs, by id, to machines on the given terms. Return the ids of the leased
    jobs.

    A job that is not ready any more, say because it was cancelled, is not leased.
    """
    placed = {
        job_id: job_state.Placement(
            job_id, machine.machine_id, machine.boot_id, terms.silence, terms.lease_s
        )
        for job_id, (machine, terms) in chosen.items()
    }
    before, at_ms = turn.working_on, turn.now.wall_ms
    new = turn.take_new_jobs(placed)
    inserted = {each.job_id for each in new}
    stored = [each for job_id, each in placed.items() if job_id not in inserted]
    leased = job_state.lease(turn.tx, stored, at_ms=at_ms) if stored else []
    if new:
        leased += job_state.insert_leased(turn.tx, new, placed, at_ms=at_ms)
    if turn.observations is not None:
        turn.observations += [
            JobWait(each.command_id, max(turn.now.wall_ms - each.submitted_ms, 0) / 1000)
            for each in leased
            if each.n == 1
        ]
    for each in leased:
        turn.working_on = Unit("grant", each.job_id)
        _grant(turn, each, *chosen[each.job_id])
    turn.working_on = before
    return {each.job_id for each in leased}


def _grant(
    turn: TurnContext, leased: job_state.LeasedJob, machine: Machine, terms: GrantTerms
) -> None:
    live = LiveAttempt(
        leased.n,
        leased.class_id,
        leased.command_id,
        leased.batch_id,
        leased.priority,
        leased.subject,
        losses=leased.losses,
        failures=leased.failures,
        boot_id=machine.boot_id,
        silence=terms.silence,
        lease_s=terms.lease_s,
        leased_ms=turn.now.wall_ms,
        renewed_ms=turn.now.steady_ms,
        grant_no=machine.last_grant_no + 1,
        sent_hours=terms.hours,
        sent_limits=terms.limits,
    )
    turn.state.add_attempt(machine.machine_id, leased.job_id, live)
    if leased.subject is not None:
        turn.changed_subjects.add(leased.subject)
    turn.placed[leased.job_id] = machine.name
    _send_grant(turn, machine, terms, leased.job_id, live, leased.arguments)


def resend_grants(turn: TurnContext) -> None:
    """Repeat, with the same attempt numbers, grants that may have been lost with a connection."""
    for machine_id, job_id in turn.regrants:
        turn.working_on = unit = Unit("grant", job_id)
        if unit in turn.state.set_aside:
            continue  # building it failed before; the job is requeued at the next heartbeat
        machine = turn.state.open_machine(machine_id)
        live = machine.live_attempts.get(job_id)
        row = jobs.read_submission(turn.tx, job_id)
        if live is None or row is None or not machine.accepts_grants:
            continue
        job_class = turn.catalog.job_class(turn.tx, live.class_id)
        settings = turn.fits.fit(turn.state, machine, job_class).settings
        terms = find_terms(turn, machine, job_class, settings)
        live = live.with_grant(machine.last_grant_no + 1, turn.now.steady_ms)
        live = replace(live, sent_hours=terms.hours, sent_limits=terms.limits)
        turn.state.add_attempt(machine_id, job_id, live)
        _send_grant(turn, machine, terms, job_id, live, row["arguments"])
    turn.regrants.clear()
    turn.working_on = None


def hold_failed_grants(turn: TurnContext) -> None:
    """Hold queued jobs whose grant the master failed to build, until a user releases them."""
    failed = {unit.number: unit for unit in turn.state.set_aside if unit.kind == "grant"}
    if not failed:
        return
    found = jobs.read_flags(turn.tx, list(failed))
    for job_id, unit in failed.items():
        if job_id in found and found[job_id].state in (JobState.LEASED, JobState.RUNNING):
            continue
        sentence = (
            f"held, as the master failed to start it ({turn.state.set_aside[unit].error}); "
            "cancel it, or let `mythjobs release` try again"
        )
        jobs.hold(turn.tx, [job_id], sentence)
        turn.held.append(job_id)
        turn.recheck(readiness.refresh(turn.tx, [job_id]))
        turn.state.set_aside = {
            each: why for each, why in turn.state.set_aside.items() if each != unit
        }


def send_changed_terms(turn: TurnContext, machine_ids: Iterable[int]) -> None:
    """Send connected machines the run windows and limits of live attempts that have changed."""
    for machine_id in machine_ids:
        machine = turn.state.machines[machine_id]
        if machine.connection is None or not machine.heartbeat_no:
            continue
        for job_id, live in list(machine.live_attempts.items()):
            turn.working_on = unit = Unit("class", live.class_id)
            if unit in turn.state.set_aside:
                continue
            job_class = turn.catalog.job_class(turn.tx, live.class_id)
            settings = turn.fits.fit(turn.state, machine, job_class).settings
            hours, limits = settings.hours, settings.bounds.limits()
            if live.sent_hours != hours:
                message = m.HoursChanged(job_id, live.n, encode_hours(hours))
                turn.send(machine, message)
            if live.sent_limits != limits:
                changed = _build_limits_changed(turn, machine, job_id, live, settings)
                turn.send(machine, changed)
            if (live.sent_hours, live.sent_limits) != (hours, limits):
                machine = turn.state.open_machine(machine_id)
                machine.live_attempts[job_id] = replace(live, sent_hours=hours, sent_limits=limits)
    turn.working_on = None


def _build_limits_changed(
    turn: TurnContext, machine: Machine, job_id: int, live: LiveAttempt, settings: EffectiveSettings
) -> m.LimitsChanged:
    command = turn.catalog.job_class(turn.tx, live.class_id).command
    run = build_common_run(command, settings.bounds, machine.capabilities)
    if command.name == RUN and (row := jobs.read_submission(turn.tx, job_id)) is not None:
        # Use the complete RunSpec: an ad-hoc run can have a wall limit among its arguments.
        run = build_run(command, row["arguments"], run)
    return m.LimitsChanged(job_id, live.n, *(getattr(run, name) for name in m.CHANGEABLE_LIMITS))


def _send_grant(
    turn: TurnContext,
    machine: Machine,
    terms: GrantTerms,
    job_id: int,
    live: LiveAttempt,
    arguments: str,
) -> None:
    machine.last_grant_no += 1
    command = turn.catalog.job_class(turn.tx, live.class_id).command
    turn.send(
        machine,
        m.Grant(
            machine.last_grant_no,
            machine.heartbeat_no,
            job_id,
            live.n,
            live.priority,
            build_run(
                command,
                arguments,
                terms.run,
                machine.policy.paths,
                tells_paths=bool(machine.own.roots),
            ),
            live.silence,
            live.lease_s,
            start_window_s(live.silence, live.lease_s),
            encode_hours(terms.hours),
            command.name,
        ),
    )


def encode_hours(hours: Hours | None) -> HoursSpec | None:
    if hours is None:
        return None
    return HoursSpec(
        [list(each) for each in hours.sets],
        hours.zone,
        hours.closing,
        hours.grace_s,
        list(hours.overrides),
    )


def build_common_run(command: Command, bounds: Bounds, capabilities: frozenset[str]) -> RunSpec:
    """Return the RunSpec fields that all jobs of a command have in common on a machine."""
    limits = bounds.limits()
    return RunSpec(
        [],
        cwd=command.cwd,
        scratch=command.scratch,
        separate_stderr=command.separate_stderr,
        progress=command.progress,
        wall_s=limits.wall_s,
        grace_s=limits.grace_s,
        keep=command.keep_bytes,
        cpu_s=limits.cpu_s,
        idle_s=limits.idle_s,
        memory_bytes=limits.memory_bytes,
        output_bytes=limits.output_bytes,
        processes=limits.processes,
        nice=bounds.nice or 0,
        io=bounds.io or "",
        has_priority=bounds.nice is not None or bounds.io is not None,
        # On a machine without cgroups a job runs without one. A job whose limits need a cgroup is
        # never placed on such a machine.
        contain=command.contain and "contain" in capabilities,
        best_effort=command.best_effort,
        leave_daemons=command.leave_daemons,
        later=command.retry.later,
    )


def build_run(
    command: Command,
    arguments: str,
    common: RunSpec,
    paths: Mapping[str, str] = _NO_PATHS,
    *,
    tells_paths: bool = False,
) -> RunSpec:
    """Return the complete RunSpec of a job: the command's argv with the arguments filled in.

    paths: map of the machine's paths, which applies to arguments of type path. tells_paths: the
    machine must know which arguments are paths.
    """
    if command.name == RUN:
        adhoc = msgspec.json.decode(arguments, type=AdHocRun)
        walls = [each for each in (adhoc.wall_s, common.wall_s) if each is not None]
        if walls:
            # The store of an older master may have longer ones, at which the agent disconnects.
            walls.append(MAX_DURATION_S)
        return msgspec.structs.replace(
            common,
            argv=adhoc.argv,
            env=adhoc.env,
            bare_env=True,
            cwd=adhoc.cwd,
            progress=adhoc.progress,
            best_effort=adhoc.best_effort,
            wall_s=min(walls, default=None),
            paths=[] if tells_paths else None,
        )
    values = _decode_arguments(arguments)
    if paths:
        for name in command.path_names:
            if values.get(name):
                values[name] = translate_path(values[name], paths)
    return msgspec.structs.replace(
        common,
        inputs=[values[name] for name in command.input_names if values.get(name)],
        paths=[values[n] for n in command.path_names if values.get(n)] if tells_paths else None,
        argv=fill_argv(command, values),
        stdin=fill_stdin(command, values),
        env={**command.env, **parameter_environment(values)},
    )
