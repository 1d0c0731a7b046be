"""Progress line of `mythjobs wait`."""

from __future__ import annotations

from typing import Any

import pytest

from mythjobs.cli.waiting import format_progress
from tests.integration.cli.samples import job


@pytest.mark.parametrize(
    "given, line",
    [
        ({}, "job 7 thumbnail: running (running on attic)"),
        ({"progress": 42.0}, "job 7 thumbnail: running [####......] 42 % (running on attic)"),
        (
            {"progress": 42.0, "eta_ms": 311_000},
            "job 7 thumbnail: running [####......] 42 %, 5 min left (running on attic)",
        ),
        ({"eta_ms": 9000}, "job 7 thumbnail: running, 8 s left (running on attic)"),
        (
            {"progress": 42.0, "estimated_end_ms": 311_000},
            "job 7 thumbnail: running [####......] 42 %, ~5 min left (running on attic)",
        ),
        (
            {"estimated_progress": 42.3, "estimated_end_ms": 11_000, "comment": "pass 2"},
            "job 7 thumbnail: running [####......] ~42 %, ~10 s left, pass 2 (running on attic)",
        ),
        (
            {"progress": 0.0, "estimated_progress": 42.3, "eta_ms": 3000, "estimated_end_ms": 9000},
            "job 7 thumbnail: running [..........] 0 %, 2 s left (running on attic)",
        ),
    ],
)
def test_the_line_shows_progress_and_the_time_left(given: dict[str, Any], line: str) -> None:
    reason = {"code": "running", "sentence": "running on attic"}
    assert format_progress(job(7, state="running", reason=reason, **given), 1000) == line
