"""Mutants of machines (drain, pause, policies, names, keys) and of restored stores."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from mythjobs.agent.core.core import AgentCore
from mythjobs.agent.core.pause import PauseEnforcer
from mythjobs.master.attempts import late_results, machine_control, restore
from mythjobs.master.handlers import attachment
from mythjobs.master.machine import Machine
from mythjobs.master.placement import fit_cache, grants
from mythjobs.model.machine_control import MachineControl
from mythjobs.store.writes import id_recovery, jobs

Patch = tuple[Any, str, Any]


def _drain_ignored() -> list[Patch]:
    """The master grants jobs to machines that are drained or paused."""
    return [(Machine, "accepts_grants", Machine.is_ready)]


def _resume_incomplete() -> list[Patch]:
    """A resume ends a pause, but a drained machine stays drained."""
    set_control = machine_control.set_control

    def keep_drain(turn: Any, machine: Any, control: MachineControl) -> None:
        drained = control.is_drained or machine.control.is_drained
        set_control(turn, machine, control._replace(is_drained=drained))

    return [(machine_control, "set_control", keep_drain)]


def _agent_ignores_drain() -> list[Patch]:
    """A drained or paused machine starts what was granted to it before."""

    def set_control(self: Any, control: Any) -> None:
        self._control = control
        self._enforcer.pause_until_ms = control.until_ms if control.is_paused else None

    return [(PauseEnforcer, "_set", set_control)]


def _pause_freezes_nothing() -> list[Patch]:
    """A paused machine starts nothing, but what runs goes on."""
    return [(PauseEnforcer, "_freeze", lambda *_: None)]


def _pause_end_left_to_agent() -> list[Patch]:
    """The reaper does not know when a pause ends."""

    def set_control(self: Any, control: Any) -> None:
        self._control = self._table.control = control

    return [(PauseEnforcer, "_set", set_control)]


def _terms_not_sent() -> list[Patch]:
    """Machines get the run windows and limits of a job only with its grant."""
    return [(grants, "send_changed_terms", lambda *_: None)]


def _overrides_cached() -> list[Patch]:
    """An override of the hours does not apply to job classes that were placed before."""
    snapshot = fit_cache._policy_snapshot
    return [(fit_cache, "_policy_snapshot", lambda *args: snapshot(*args)[:-1])]


def _revoked_key_accepted() -> list[Patch]:
    """A machine may connect with a key that was revoked."""
    admit = attachment._admit_machine

    def admit_any(turn: Any, request: Any, rights: str) -> Any:
        key = request.hello.machine_key
        known = next((each for each in turn.state.machines.values() if each.key == key), None)
        return known if known and known.is_revoked else admit(turn, request, rights)

    return [(attachment, "_admit_machine", admit_any)]


def _names_cached() -> list[Patch]:
    """A new name of a machine does not apply to job classes that were placed before."""
    snapshot = fit_cache._policy_snapshot

    def without_name(state: Any, machine: Any) -> Any:
        return tuple(each for each in snapshot(state, machine) if each != machine.name)

    return [(fit_cache, "_policy_snapshot", without_name)]


def _stale_ignored() -> list[Patch]:
    """A machine goes on with an attempt that the master does not know to be live there."""
    return [(AgentCore, "_drop_stale", lambda *_: None)]


def _rejections_not_sent() -> list[Patch]:
    """The master tells no machine to stop an attempt that is not live there."""
    return [(late_results.LateResults, "reject", lambda *_: None)]


# Restored stores.


def _ids_reused() -> list[Patch]:
    """A restored store continues with the ids that it knows."""
    return [(id_recovery, "raise_ids", lambda tx, _: jobs.read_next_id(tx))]


def _attempt_numbers_reused() -> list[Patch]:
    """The attempt numbers of a restored store's jobs continue with those that it knows."""
    return [(id_recovery, "_read_queued", lambda _: [])]


def _restored_jobs_run() -> list[Patch]:
    """A restored store's queued jobs run at once."""
    return [(id_recovery, "hold_queued", lambda *_: 0)]


def _attempts_in_both_ended() -> list[Patch]:
    """A restore ends all attempts, also those that are live in both stores."""
    read = id_recovery.read_restored_ids
    return [(id_recovery, "read_restored_ids", lambda tx: read(tx)._replace(live=frozenset()))]


def _ticks_repeated() -> list[Patch]:
    """A restored store catches up on the ticks since the backup."""
    return [(restore, "_skip_ticks", lambda *_: None)]


MACHINE_MUTANTS: Final[dict[str, Callable[[], list[Patch]]]] = {
    "drain-ignored": _drain_ignored,
    "resume-incomplete": _resume_incomplete,
    "agent-ignores-drain": _agent_ignores_drain,
    "pause-freezes-nothing": _pause_freezes_nothing,
    "pause-end-left-to-agent": _pause_end_left_to_agent,
    "terms-not-sent": _terms_not_sent,
    "overrides-cached": _overrides_cached,
    "revoked-key-accepted": _revoked_key_accepted,
    "names-cached": _names_cached,
    "stale-ignored": _stale_ignored,
    "rejections-not-sent": _rejections_not_sent,
    "ids-reused": _ids_reused,
    "attempt-numbers-reused": _attempt_numbers_reused,
    "restored-jobs-run": _restored_jobs_run,
    "attempts-in-both-ended": _attempts_in_both_ended,
    "ticks-repeated": _ticks_repeated,
}
