"""Handlers of requests that delete old data: jobs, output, attempts, job classes."""

from __future__ import annotations

from mythjobs.master import requests
from mythjobs.master.turn_context import TurnContext
from mythjobs.store.writes import commands, outputs, prune


def delete_jobs(turn: TurnContext, request: requests.DeleteJobs) -> int:
    return prune.delete_jobs(turn.tx, request.ids)


def delete_output(turn: TurnContext, request: requests.DiscardOutput) -> int:
    return outputs.remove(turn.tx, request.attempts)


def delete_attempts(turn: TurnContext, request: requests.DeleteAttempts) -> None:
    prune.delete_first_attempts(turn.tx, request.job, request.last_n)


def begin_class_sweep(turn: TurnContext, _: requests.BeginClassSweep) -> None:
    turn.catalog.begin_sweep()


def delete_classes(turn: TurnContext, request: requests.DeleteClasses) -> int:
    """Delete job classes that have no jobs; return the number of deleted classes."""
    unused = turn.catalog.find_unused(request.ids)
    commands.delete_classes(turn.tx, unused)
    turn.catalog.clear()
    turn.fits.clear()
    for class_id in unused:
        turn.state.placement.remove_class(class_id)
        turn.state.placement.unplaceable.discard(class_id)
    return len(unused)
