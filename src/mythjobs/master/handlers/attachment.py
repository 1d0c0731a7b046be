"""Attach: binds the connection of an agent to its machine, which is enrolled if it is new."""

from __future__ import annotations

import json
from dataclasses import replace

from mythjobs.errors import AlreadyRunning, ConfigError, DefinitionError, NotAllowed
from mythjobs.master.attempts.machine_control import encode_control
from mythjobs.master.machine import Machine
from mythjobs.master.placement.visibility import forget_hidden
from mythjobs.master.requests import Attach, Attached
from mythjobs.master.state import machine_from_row
from mythjobs.master.turn_context import TurnContext
from mythjobs.model.machine_policy import Rights
from mythjobs.model.names import check_machine_name
from mythjobs.model.own_policy import (
    NO_OWN_POLICY,
    REFUSING_POLICY,
    OwnPolicy,
    own_policy_from_table,
)
from mythjobs.protocol import messages as m
from mythjobs.protocol.compatibility import find_agent_capabilities
from mythjobs.store.writes import command_usage, machines

# Agents with one key that are remembered, to recognize one that comes back.
_MAX_INCARNATIONS = 16
_MAX_ZONE = 100


def attach_machine(
    turn: TurnContext, request: Attach, *, rights: str, jobs: int | None
) -> Attached:
    """Bind a connection to the machine whose key the agent has proved to have.

    The master's own machine is enrolled if it is new, with `rights` (the commands that it may run).
    jobs: maximum number of jobs at once on the master's own machine; None: as its policy says.
    Raises NotAllowed for a key that is not enrolled, AlreadyRunning if another agent is connected
    with the same key.
    """
    hello = request.hello
    admitted = _admit_machine(turn, request, rights)
    machine = turn.state.open_machine(admitted.machine_id)
    zone = hello.zone[:_MAX_ZONE]
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
        turn.state.placement.clear_declines(machine.machine_id)
    forget_hidden(turn, machine)
    machine.own = _read_own_policy(hello)
    machine.zone, machine.capabilities = zone, find_agent_capabilities(hello)
    # Grant numbers start again on each connection. 0 marks a grant of an earlier connection, which
    # cannot arrive any more: if the machine has received it, the first heartbeat lists the attempt.
    # `frozen_by` is kept until that heartbeat: if the machine has rebooted, the attempt is lost,
    # and the job must be held if a user had paused it.
    machine.live_attempts = {
        job_id: replace(each, grant_no=0, sent_hours="?", sent_limits="?")
        for job_id, each in machine.live_attempts.items()
    }
    if hello.incarnation != machine.incarnation:
        past = (*machine.past_incarnations, machine.incarnation)
        machine.past_incarnations = past[-_MAX_INCARNATIONS:]
    turn.state.set_connection(machine, request.connection)
    machine.incarnation = hello.incarnation
    machine.heartbeat_no = machine.last_grant_no = 0
    machine.is_draining, machine.reported_free, machine.has_left = False, None, False
    machine.has_scaling, machine.headroom, machine.load = hello.scaling, None, None
    machine.last_frame_ms = turn.now.steady_ms
    if request.trusted and jobs is not None:
        machine.temporary_jobs = jobs
    rows = {}
    if machine.has_scaling:
        found = command_usage.read_for_machine(turn.tx, machine.machine_id)
        rows = {name: json.loads(row) for name, row in found.items()}
    return Attached(
        machine.machine_id, machine.max_jobs, machine.name, rows, encode_control(machine.control)
    )


def _admit_machine(turn: TurnContext, request: Attach, rights: str) -> Machine:
    """Return the machine with the agent's key; enroll it if it is new and the master's own.

    Raises as attach_machine() does.
    """
    hello = request.hello
    if hello.cores < 1 or not hello.name:
        raise ConfigError("cannot attach an agent whose hello has no machine name or no cores")
    machine = next((e for e in turn.state.machines.values() if e.key == hello.machine_key), None)
    if machine is None:
        if not request.trusted:
            raise NotAllowed(
                "this machine has not joined this master; run `mythjobs machine invite` on the "
                "master's machine, and the printed line here"
            )
        return enroll_machine(
            turn,
            name=hello.name,
            key=hello.machine_key,
            rights=rights,
            cores=hello.cores,
            boot_id=hello.boot_id,
        )
    if machine.is_revoked:
        raise NotAllowed(
            f"this machine was revoked as {machine.name}; to let it join again, remove "
            "agent/agent.key in its state directory and use a new invitation"
        )
    if machine.connection is not None and machine.incarnation != hello.incarnation:
        raise AlreadyRunning(
            f"machine {machine.name} is already connected; two agents use the same key"
        )
    if hello.incarnation in machine.past_incarnations:
        # An agent gets a new incarnation when it starts, so this one has run all the time while
        # another one was connected in its place.
        raise AlreadyRunning(
            f"another agent has connected with the key of machine {machine.name} since: its disk "
            "was copied, or two agents share a state directory; on the copy remove agent/agent.key "
            "and join again, then restart this agent"
        )
    return machine


def _read_own_policy(hello: m.Hello) -> OwnPolicy:
    """Return a machine's own policy; one without rights if a newer agent sends an unknown form."""
    try:
        if hello.policy is not None:
            return own_policy_from_table(hello.policy, is_report=True)
        return OwnPolicy(Rights.from_json(hello.allow)) if hello.allow else NO_OWN_POLICY
    except (DefinitionError, ValueError, KeyError, TypeError):
        return REFUSING_POLICY


def enroll_machine(
    turn: TurnContext, *, name: str, key: str, rights: str, cores: int = 0, boot_id: str = ""
) -> Machine:
    """Store a new machine. A name in use gets a number as suffix. Raises BadRequest."""
    check_machine_name(name)
    row = machines.enrol(
        turn.tx,
        name=name,
        key=key,
        rights=rights,
        cores=cores,
        boot_id=boot_id,
        at_ms=turn.now.wall_ms,
    )
    machine = machine_from_row(row)
    turn.state.add_machine(machine)
    return machine
