"""Parsing of status lines, valid and invalid."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mythjobs.agent.core.status import JobStatus, parse_status_lines


def test_each_line_updates_its_field() -> None:
    status = parse_status_lines(
        JobStatus(), ["progress 42.5", "comment Encoding pass 2", "eta 310"]
    )
    assert status == JobStatus(42.5, "Encoding pass 2", 310.0)
    assert parse_status_lines(status, ["progress 99 %"]) == JobStatus(
        99.0, "Encoding pass 2", 310.0
    )
    assert parse_status_lines(status, ["comment"]).comment == ""


@pytest.mark.parametrize(
    "line", ["", "progress", "progress nan", "progress inf", "eta soon", "PROGRESS 5", "rm -rf /"]
)
def test_invalid_line_is_ignored(line: str) -> None:
    assert parse_status_lines(JobStatus(), [line]) == JobStatus()


def test_numbers_are_clamped_and_comments_shortened() -> None:
    status = parse_status_lines(
        JobStatus(), ["progress 1e9", "eta -5", "comment a\x1b]0;b\x07" + "c" * 9999]
    )
    assert status.percent == 100.0
    assert status.eta_s == 0.0
    assert status.comment is not None
    assert status.comment.startswith("a\ufffd]0;b\ufffdccc")
    assert len(status.comment) == 500


@given(st.lists(st.text()))
def test_no_line_raises(lines: list[str]) -> None:
    status = parse_status_lines(
        JobStatus(), [f"{word} {line}" for line in lines for word in ("progress", "x")]
    )
    assert status.percent is None or 0 <= status.percent <= 100
