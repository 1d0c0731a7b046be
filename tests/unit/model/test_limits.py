"""Resource usage: its form in JSON."""

from __future__ import annotations

from typing import Any

import pytest

from mythjobs.model.limits import Usage, usage_from_json


def test_usage_is_parsed_with_defaults_and_without_unknown_fields() -> None:
    given: dict[str, object] = {"wall_s": 1.5, "peak_bytes": 7, "exact": False, "new": "x"}
    usage = usage_from_json(given)
    assert usage == Usage(wall_s=1.5, peak_bytes=7, exact=False)
    assert usage_from_json({}) == Usage()
    assert Usage(user_s=1.5, system_s=0.25).cpu_s == 1.75


@pytest.mark.parametrize("given", [{"wall_s": "1"}, {"wall_s": 1, "user_s": None}])
def test_usage_with_a_value_that_is_no_number_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError) as caught:
        usage_from_json(given)
    assert str(caught.value) == f"invalid usage: {given!r}"


def test_figures_that_no_program_can_have_are_clamped() -> None:
    usage = usage_from_json({"wall_s": 1e308, "user_s": -1.0, "peak_bytes": 2**70})
    assert usage == Usage(wall_s=2**32, user_s=0, peak_bytes=2**53)
    with pytest.raises(ValueError, match="invalid usage"):
        usage_from_json({"wall_s": float("nan")})
