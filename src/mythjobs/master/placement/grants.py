"""Leases what placement chose, and makes the grants that say so."""

from __future__ import annotations

import json
from typing import NamedTuple

import msgspec

from mythjobs.master.catalog import JobClass
from mythjobs.master.state import LiveAttempt, Machine
from mythjobs.master.turn_context import TurnContext
from mythjobs.model.arguments import fill_argv, parameter_environment
from mythjobs.model.bounds import Bounds
from mythjobs.model.command import RUN, Command
from mythjobs.model.limits import Limits
from mythjobs.model.window import Hours
from mythjobs.protocol import messages as m
from mythjobs.protocol.lease import L_S, start_by_s
from mythjobs.protocol.requests import AdHoc
from mythjobs.scheduler.eligibility import EffectiveSettings, may_ever_run
from mythjobs.scheduler.lease_policy import choose_lease_terms
from mythjobs.store.writes import job_state, jobs


class GrantTerms(NamedTuple):
    """Where jobs of a class shall go, and on what terms. `run` lacks what is each job's own."""

    machine: Machine
    hours: Hours | None
    limits: Limits
    silence: str
    lease_s: float | None
    run: m.Run


def build_terms(
    turn: TurnContext, machine: Machine, job_class: JobClass, site: EffectiveSettings
) -> GrantTerms:
    command = job_class.command
    silence, lease_s = choose_lease_terms(
        command.silence,
        command.lease_s,
        default_lease_s=L_S,
        eligible_machines=_may_ever(turn, job_class) if not command.silence else 0,
        can_enforce_lease="leases" in machine.capabilities,
    )
    run = build_common_run(job_class.command, site.bounds, machine.capabilities)
    return GrantTerms(machine, site.hours, site.bounds.limits(), silence, lease_s, run)


def _may_ever(turn: TurnContext, job_class: JobClass) -> int:
    """How many machines are eligible by rights, pins and labels, here or away."""
    return sum(
        may_ever_run(job_class.requirements, each.facts()) for each in turn.state.machines.values()
    )


def lease_jobs(turn: TurnContext, places: dict[int, GrantTerms]) -> set[int]:
    """Answers the jobs that were to be had."""
    rows = [
        job_state.Placement(
            job_id, each.machine.machine_id, each.machine.boot_id, each.silence, each.lease_s
        )
        for job_id, each in places.items()
    ]
    leased = job_state.lease(turn.tx, rows, at_ms=turn.now.wall_ms)
    for each in leased:
        _grant(turn, each, places[each.job_id])
    return {each.job_id for each in leased}


def _grant(turn: TurnContext, leased: job_state.LeasedJob, place: GrantTerms) -> None:
    machine = place.machine
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
        silence=place.silence,
        lease_s=place.lease_s,
        renewed_ms=turn.now.steady_ms,
        grant_no=machine.last_grant_no + 1,
        sent_hours=place.hours,
        sent_limits=place.limits,
    )
    turn.state.add_attempt(machine, leased.job_id, live)
    if leased.subject is not None:
        turn.changed_subjects.add(leased.subject)
    turn.placed[leased.job_id] = machine.name
    _say(turn, place, leased.job_id, live, leased.arguments)


def resend_grants(turn: TurnContext) -> None:
    """Grants once more what a connection that broke may have lost, under the same numbers."""
    for machine_id, job_id in turn.regrants:
        machine = turn.state.machines[machine_id]
        live = machine.live_attempts.get(job_id)
        row = jobs.read_submission(turn.tx, job_id)
        if live is None or row is None or not machine.accepts_grants:
            continue
        job_class = turn.catalog.job_class(turn.tx, live.class_id)
        site = turn.fits.fit(turn.state, machine, job_class).settings
        place = build_terms(turn, machine, job_class, site)
        live = live.with_grant(machine.last_grant_no + 1, turn.now.steady_ms)
        live = live.with_sent_terms(place.hours, place.limits)
        turn.state.add_attempt(machine, job_id, live)
        _say(turn, place, job_id, live, row["arguments"])
    turn.regrants.clear()


def send_changed_terms(turn: TurnContext) -> None:
    """Every machine that is there hears of other hours and limits for what it has, once."""
    for machine in turn.state.machines.values():
        if machine.connection is None or not machine.heartbeat_no:
            continue
        for job_id, live in machine.live_attempts.items():
            job_class = turn.catalog.job_class(turn.tx, live.class_id)
            site = turn.fits.fit(turn.state, machine, job_class).settings
            limits = site.bounds.limits()
            if live.sent_hours != site.hours:
                said = encode_hours(site.hours)
                turn.send(machine.connection, m.HoursChanged(job_id, live.n, said))
            if live.sent_limits != limits:
                turn.send(machine.connection, _limits_said(turn, machine, job_id, live, site))
            if (live.sent_hours, live.sent_limits) != (site.hours, limits):
                machine.live_attempts[job_id] = live.with_sent_terms(site.hours, limits)


def _limits_said(
    turn: TurnContext, machine: Machine, job_id: int, live: LiveAttempt, site: EffectiveSettings
) -> m.LimitsChanged:
    command = turn.catalog.job_class(turn.tx, live.class_id).command
    run = build_common_run(command, site.bounds, machine.capabilities)
    if command.name == RUN and (row := jobs.read_submission(turn.tx, job_id)) is not None:
        # An ad-hoc run has a wall limit of its own.
        run = build_run(command, row["arguments"], run)
    return m.LimitsChanged(job_id, live.n, *(getattr(run, name) for name in m.LIMITS))


def _say(
    turn: TurnContext, place: GrantTerms, job_id: int, live: LiveAttempt, arguments: str
) -> None:
    machine = place.machine
    assert machine.connection is not None
    machine.last_grant_no += 1
    command = turn.catalog.job_class(turn.tx, live.class_id).command
    turn.send(
        machine.connection,
        m.Grant(
            machine.last_grant_no,
            machine.heartbeat_no,
            job_id,
            live.n,
            live.priority,
            build_run(command, arguments, place.run),
            live.silence,
            live.lease_s,
            start_by_s(live.silence, live.lease_s),
            encode_hours(place.hours),
            command.name,
        ),
    )


def encode_hours(hours: Hours | None) -> m.Hours | None:
    if hours is None:
        return None
    return m.Hours(
        [list(each) for each in hours.sets],
        hours.zone,
        hours.closing,
        hours.grace_s,
        list(hours.overrides),
    )


def build_common_run(command: Command, bounds: Bounds, can: frozenset[str]) -> m.Run:
    """What is the same in every run of a command on a machine."""
    limits = bounds.limits()
    return m.Run(
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
        # Where there are no containers a job still runs; what needs one is not placed there.
        contain=command.contain and "contain" in can,
        best_effort=command.best_effort,
        leave_daemons=command.leave_daemons,
        later=command.retry.later,
    )


def build_run(command: Command, arguments: str, common: m.Run) -> m.Run:
    """What the machine executes: the author's command line with the arguments as data in it."""
    if command.name == RUN:
        adhoc = msgspec.json.decode(arguments, type=AdHoc)
        walls = [each for each in (adhoc.wall_s, common.wall_s) if each is not None]
        return msgspec.structs.replace(
            common,
            argv=adhoc.argv,
            env=adhoc.env,
            bare_env=True,
            cwd=adhoc.cwd,
            wall_s=min(walls, default=None),
        )
    values: dict[str, str] = json.loads(arguments)
    return msgspec.structs.replace(
        common,
        argv=fill_argv(command, values),
        env={**command.env, **parameter_environment(values)},
    )
