"""Parsing of status lines, valid and invalid."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mythjobs.agent.core.status import JobStatus, parse_status_lines


def parse(lines: list[str], status: JobStatus | None = None, now_ms: int = 1000) -> JobStatus:
    return parse_status_lines(status or JobStatus(), lines, now_ms)


def test_each_line_updates_its_field() -> None:
    status = parse(["progress 42.5", "comment Encoding pass 2", "eta 310"])
    assert status == JobStatus(42.5, "Encoding pass 2", 310.0, 1000)
    assert parse(["progress 99 %"], status, 9000) == JobStatus(99.0, "Encoding pass 2", 310.0, 1000)
    assert parse(["comment"], status).comment == ""


def test_time_left_passes_but_not_while_the_attempt_is_frozen() -> None:
    assert JobStatus().compute_left_s(1000) is None
    status = parse(["eta 310"], now_ms=1000)
    assert status.compute_left_s(101_000) == 210.0
    frozen = status.with_frozen(True, 101_000)
    assert frozen.compute_left_s(999_000) == 210.0
    thawed = frozen.with_frozen(False, 999_000)
    assert thawed.compute_left_s(1_009_000) == 200.0
    assert thawed.compute_left_s(9_009_000) == 0.0
    assert parse(["eta 20"], thawed, 1_009_000).compute_left_s(1_010_000) == 19.0
    assert JobStatus(5.0).with_frozen(True, 1000) == JobStatus(5.0)


@pytest.mark.parametrize(
    "line", ["", "progress", "progress nan", "progress inf", "eta soon", "PROGRESS 5", "rm -rf /"]
)
def test_invalid_line_is_ignored(line: str) -> None:
    assert parse([line]) == JobStatus()


def test_numbers_are_clamped_and_comments_shortened() -> None:
    status = parse(["progress 1e9", "eta -5", "comment a\x1b]0;b\x07" + "c" * 9999])
    assert status.percent == 100.0
    assert status.eta_s == 0.0
    assert status.comment is not None
    assert status.comment.startswith("a\ufffd]0;b\ufffdccc")
    assert len(status.comment) == 500


@given(st.lists(st.text()))
def test_no_line_raises(lines: list[str]) -> None:
    status = parse([f"{word} {line}" for line in lines for word in ("progress", "x")])
    assert status.percent is None or 0 <= status.percent <= 100
