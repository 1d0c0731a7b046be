"""Windows that close while master and agent are dead: the reaper acts on time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mythjobs.model.units import format_duration
from tests.acceptance import execution_audit
from tests.acceptance.local_cluster import (
    LocalCluster,
    boottime_ns,
    logging_command,
    run_cluster,
    wait_until,
)

CLOSINGS = ("finish", "freeze", "requeue", "terminate")
# Enough for four jobs to start and for two kills before the close.
OPEN_DURATION_S = 4.0
TOLERANCE_NS = 2_000_000_000


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[LocalCluster]:
    with run_cluster(tmp_path) as cluster:
        cluster.post("machines/cellar", {"jobs": 0})
        settings = {
            "allow": "all",
            "jobs": len(CLOSINGS),
            "zone": "UTC",
            "windows": {"open": [twelve_hours_from_now()]},
        }
        cluster.post("machines/attic/settings", {"settings": settings})
        for closing in CLOSINGS:
            grace = {} if closing in ("finish", "freeze") else {"grace": format_duration(1)}
            windows = {"closing": closing, **grace}
            definition = logging_command(tmp_path) | {"name": closing, "windows": windows}
            cluster.post("commands", {"definition": definition, "replace": False})
        yield cluster


def twelve_hours_from_now() -> str:
    hour = (time.gmtime().tm_hour + 12) % 24
    return f"{hour:02}:00-{hour:02}:30"


def open_window(cluster: LocalCluster, seconds: float) -> int:
    """Open attic for some seconds. Return the CLOCK_BOOTTIME of the close."""
    until_ms = round((time.time() + seconds) * 1000)
    cluster.post("machines/attic/hours", {"kind": "allow", "until_ms": until_ms})
    return boottime_ns() + round(until_ms * 1e6 - time.time() * 1e9)


@pytest.mark.slow
def test_windows_close_on_time_without_master_and_agent(
    cluster: LocalCluster, tmp_path: Path
) -> None:
    closes_ns = open_window(cluster, OPEN_DURATION_S)
    ids = {
        closing: cluster.post(
            "jobs", {"command": closing, "arguments": {"seconds": "7", "code": 0}}
        )["id"]
        for closing in CLOSINGS
    }

    def last_ns(closing: str, n: int = 1) -> int:
        logs = execution_audit.read_execution_log(tmp_path / "executions")
        return logs[ids[closing], n].last_line_ns if (ids[closing], n) in logs else 0

    wait_until(lambda: all(last_ns(each) for each in CLOSINGS), "not all jobs have started")
    assert boottime_ns() < closes_ns
    cluster.kill_master()
    cluster.kill_agent("attic")

    wait_until(lambda: boottime_ns() > closes_ns + TOLERANCE_NS, "the clock does not advance")
    for closing in ("freeze", "requeue", "terminate"):
        assert abs(last_ns(closing) - closes_ns) < TOLERANCE_NS, closing
    assert last_ns("finish") > closes_ns + TOLERANCE_NS - 1_000_000_000

    cluster.start_master()
    cluster.start_agent("attic")

    def job(closing: str) -> Any:
        return cluster.get(f"jobs/{ids[closing]}")

    wait_until(
        lambda: job("terminate")["state"] == "failed",
        "the end of the terminated job is not reported",
    )
    assert job("terminate")["reason"]["code"] == "window_closed"
    wait_until(lambda: job("requeue")["state"] == "queued", "the requeued job is not queued")
    wait_until(
        lambda: job("finish")["state"] == "succeeded", "the job with `finish` has not succeeded"
    )
    assert job("freeze")["state"] == "running"

    open_window(cluster, 60)
    wait_until(lambda: job("freeze")["state"] == "succeeded", "the frozen job is not thawed")
    wait_until(lambda: job("requeue")["state"] == "succeeded", "the requeued job is not rerun")
    assert job("freeze")["attempt"] == 1
    assert job("requeue")["attempt"] == 2
