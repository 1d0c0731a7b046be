"""A machine as `mythjobs machine show` describes it above its policy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from mythjobs import clock
from mythjobs.cli.status_text import format_control
from mythjobs.cli.times import format_end_time, format_short_time
from mythjobs.client.client import Json
from mythjobs.model.units import describe_clock_skew

_MAX_REASONS: Final = 10
_MAX_PATHS: Final = 10
_GIB: Final = 2**30
# A difference of cores that is worth a word.
_MIN_CORES: Final = 0.1


def describe_machine(found: Json) -> Iterator[str]:
    """Yield sentences about a machine as the API shows it."""
    now_ms = clock.master_now().wall_ms
    zone = f", time zone {found['zone']}" if found["zone"] else ""
    running = f"runs {found['running']} of {found['jobs']} jobs"
    if found["by_load"]:
        jobs = "1 job" if found["running"] == 1 else f"{found['running']} jobs"
        running = f"runs {jobs}, as many as its load permits"
    slots = "slot" if found["free"] == 1 else "slots"
    free = "" if found["free"] is None else f", {found['free']} {slots} free"
    if control := format_control(found["control"], now_ms):
        running = f"{control}, {running}"
    yield f"{found['name']}: {found['state']}, {running}{free}{zone}"
    if skew := describe_clock_skew(found["clock_ms"]):
        yield skew
    if found["scaling"] is not None:
        yield from _describe_scaling(found["scaling"])
    if found.get("load") is not None:  # a master of an older version does not send it
        yield from _describe_load(found["load"], has_jobs=found["running"] > 0)
    if found["labels"]:
        yield f"labels: {', '.join(found['labels'])}"
    if found["gpus"]:
        yield f"GPU: {', '.join(found['gpus'])}"
    yield from _describe_paths(found, now_ms)
    yield from _describe_own_policy(found["own_policy"])
    for each in found["overrides"]:
        state = "open" if each["kind"] == "allow" else "closed"
        commands = each["command"] or "every command"
        end = format_end_time(each["until_ms"], now_ms)
        yield f"{state} for {commands} until {end}, regardless of run windows"


def _describe_own_policy(own: Json) -> Iterator[str]:
    """Yield what the machine's own policy and its agent's --jobs allow at most."""
    for key, value in own.items():
        text = (
            ", ".join(f"{k} {_join(v)}" for k, v in value.items() if not isinstance(v, dict))
            if isinstance(value, dict)
            else _join(value)
        )
        yield f"set on the machine itself: {key} {text}"


def _join(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _describe_scaling(found: Json) -> Iterator[str]:
    yield found["sentence"]
    for name, why in list(found["reasons"].items())[1:_MAX_REASONS]:
        yield f"no further job of {name}: {why}"


def _describe_load(load: Json, *, has_jobs: bool) -> Iterator[str]:
    others = max(load["cpu"] - load["own_cpu"], 0.0)
    low = others - load["foreign_cpu"]
    low_priority = f" ({low:.1f} at low priority)" if low >= _MIN_CORES else ""
    yield (
        f"{load['cpu']:.1f} of {load['cores']} cores in use: {load['own_cpu']:.1f} by jobs, "
        f"{others:.1f} by other programs{low_priority}"
    )
    free, total = load["available_bytes"] / _GIB, load["memory_bytes"] / _GIB
    yield f"{free:.1f} of {total:.1f} GiB of memory free"
    for name, disk in load["disks"].items():
        # What is too little to be called foreign load is due to the jobs, if there are any.
        others = disk["foreign"] if has_jobs else disk["busy"]
        own = max(disk["busy"] - others, 0.0)
        yield (
            f"disk {name} busy for {disk['busy']:.0%}: {own:.0%} by jobs, {others:.0%} by other "
            "programs"
        )
    if load["pressure"]:
        shares = [f"{name} {some:.0f} %" for name, (some, _) in load["pressure"].items()]
        yield f"programs wait for (10 s): {', '.join(shares)}"


def _describe_paths(found: Json, now_ms: int) -> Iterator[str]:
    mounts = found["mounts"]
    if mounts:
        named = [
            f"{each['path']} ({each['type']}, {each['disk'] or each['source']})"
            for each in mounts[:_MAX_PATHS]
        ]
        more = f" and {len(mounts) - _MAX_PATHS} more" if len(mounts) > _MAX_PATHS else ""
        yield f"paths: {', '.join(named)}{more}"
    for each in found["hidden_paths"][:_MAX_PATHS]:
        again = format_short_time(each["until_ms"], now_ms)
        yield f"cannot read {each['path']}, tried again {again}"
