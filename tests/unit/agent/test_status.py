"""What a job says into its status pipe, and what is made of nonsense."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mythjobs.agent.core.status import JobStatus, parse_status_lines


def test_each_line_changes_what_it_says() -> None:
    said = parse_status_lines(JobStatus(), ["progress 42.5", "comment Encoding pass 2", "eta 310"])
    assert said == JobStatus(42.5, "Encoding pass 2", 310.0)
    assert parse_status_lines(said, ["progress 99 %"]) == JobStatus(99.0, "Encoding pass 2", 310.0)
    assert parse_status_lines(said, ["comment"]).comment == ""


@pytest.mark.parametrize(
    "line", ["", "progress", "progress nan", "progress inf", "eta soon", "PROGRESS 5", "rm -rf /"]
)
def test_what_is_none_of_ours_is_passed_over(line: str) -> None:
    assert parse_status_lines(JobStatus(), [line]) == JobStatus()


def test_figures_are_kept_in_bounds_and_comments_in_one_short_line() -> None:
    said = parse_status_lines(
        JobStatus(), ["progress 1e9", "eta -5", "comment a\x1b]0;b\x07" + "c" * 9999]
    )
    assert said.percent == 100.0
    assert said.eta_s == 0.0
    assert said.comment is not None
    assert said.comment.startswith("a\ufffd]0;b\ufffdccc")
    assert len(said.comment) == 500


@given(st.lists(st.text()))
def test_no_line_is_an_error(lines: list[str]) -> None:
    said = parse_status_lines(
        JobStatus(), [f"{word} {line}" for line in lines for word in ("progress", "x")]
    )
    assert said.percent is None or 0 <= said.percent <= 100
