"""Outcomes: their JSON form, and their descriptions for users."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mythjobs.model import outcome as o

DESCRIPTIONS: list[tuple[o.Outcome, str]] = [
    (o.Exited(0), "exit code 0"),
    (o.Signalled(9), "killed by signal 9 (SIGKILL)"),
    (o.Signalled(11, True), "killed by signal 11 (SIGSEGV), core dumped"),
    (o.Signalled(40), "killed by signal 40 (real-time signal)"),
    (o.Breached("memory"), "ended because it exceeded its memory limit"),
    (o.Stopped("anna"), "stopped by anna"),
    (o.Stopped("window"), "stopped because its window closed"),
    (o.NotStarted(2, "/bin/x: not found"), "could not start: /bin/x: not found"),
    (o.Lost("its machine restarted"), "lost: its machine restarted"),
]
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
OUTCOMES = st.one_of(
    st.builds(o.Exited, st.integers(0, 255)),
    st.builds(o.Signalled, st.integers(1, 64), st.booleans()),
    st.builds(o.Breached, TEXT),
    st.builds(o.Stopped, TEXT),
    st.builds(o.NotStarted, st.integers(0, 200), TEXT),
    st.builds(o.Lost, TEXT),
)


@pytest.mark.parametrize("outcome, text", DESCRIPTIONS)
def test_an_outcome_is_described_in_one_clause(outcome: o.Outcome, text: str) -> None:
    assert o.describe(outcome) == text


@given(OUTCOMES)
def test_an_outcome_survives_conversion_to_json_and_back(outcome: o.Outcome) -> None:
    assert o.from_json(o.to_json(outcome)) == outcome


def test_the_json_form_is_stable() -> None:
    # Journals and the store keep it over upgrades.
    assert o.to_json(o.Exited(3)) == {"kind": "exited", "code": 3}
    assert o.to_json(o.Signalled(9)) == {"kind": "signalled", "signal": 9, "core": False}
    assert o.to_json(o.NotStarted(2, "why")) == {
        "kind": "not_started", "errno": 2, "sentence": "why",
    }  # fmt: skip


def test_missing_fields_have_defaults_and_unknown_ones_are_ignored() -> None:
    assert o.from_json({"kind": "signalled", "signal": 9, "new": 1}) == o.Signalled(9, False)


def test_nul_characters_are_replaced() -> None:
    assert o.from_json({"kind": "lost", "why": "a\0b"}) == o.Lost("a\ufffdb")


@pytest.mark.parametrize(
    "value, error",
    [
        ({}, "invalid outcome: {}"),
        ({"kind": "vanished"}, "invalid outcome: {'kind': 'vanished'}"),
        ({"kind": "exited"}, "missing 1 required positional argument: 'code'"),
        ({"kind": "exited", "code": "3"}, "exited: code is not int"),
        ({"kind": "exited", "code": True}, "exited: code is not int"),
        ({"kind": "lost", "why": None}, "lost: why is not str"),
    ],
)
def test_an_invalid_outcome_is_refused(value: dict[str, Any], error: str) -> None:
    with pytest.raises(ValueError) as caught:
        o.from_json(value)
    assert error in str(caught.value)
