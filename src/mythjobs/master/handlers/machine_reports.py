"""Bounds of a machine's reports about its load and its room, which come from another program."""

from __future__ import annotations

from typing import Final

from mythjobs.protocol.scaling import DiskLoad, Headroom, LoadReport

_MAX_COMMANDS: Final = 1000
_MAX_DISKS: Final = 100
_MAX_CAUSES: Final = 10
_MAX_NAME: Final = 100
_MAX_REASON: Final = 500
# Larger numbers cannot be added up, or written as floating point numbers in metrics.
_MAX_NUMBER: Final = 2**53


def bound_headroom(given: Headroom) -> Headroom:
    """Return a machine's room for jobs, without more commands than a queue is meant to have."""
    return Headroom(
        {
            name[:_MAX_NAME]: _bound_int(count)
            for name, count in list(given.fits.items())[:_MAX_COMMANDS]
        },
        _bound_int(given.other),
        {
            name[:_MAX_NAME]: reason[:_MAX_REASON]
            for name, reason in list(given.reasons.items())[:_MAX_COMMANDS]
        },
    )


def bound_load(given: LoadReport) -> LoadReport:
    """Return a machine's load, with disks that can be listed and shown as labels of metrics."""
    return LoadReport(
        _bound_int(given.cores),
        _bound(given.cpu),
        _bound(given.foreign_cpu),
        _bound_int(given.memory_bytes),
        _bound_int(given.available_bytes),
        {
            name[:_MAX_NAME]: DiskLoad(_bound(load.busy), _bound(load.foreign))
            for name, load in list(given.disks.items())[:_MAX_DISKS]
        },
        _bound(given.own_cpu),
        {
            name[:_MAX_NAME]: (_bound(some), _bound(full))
            for name, (some, full) in list(given.pressure.items())[:_MAX_CAUSES]
        },
    )


def _bound_int(number: int) -> int:
    return min(max(number, 0), _MAX_NUMBER)


def _bound(number: float) -> float:
    return min(max(number, 0.0), float(_MAX_NUMBER))
