from typing import Any

import pytest

from mythjobs.cli.commands.run import get_exit_code


def ended(outcome: dict[str, Any] | None, reason: str = "") -> dict[str, Any]:
    attempts = [] if outcome is None else [{"n": 1, "outcome": outcome}]
    return {"id": 7, "state": "failed", "reason": {"sentence": reason}, "attempts": attempts}


@pytest.mark.parametrize(
    "outcome, code, sentence",
    [
        ({"kind": "exited", "code": 0}, 0, ""),
        ({"kind": "exited", "code": 75}, 75, ""),
        ({"kind": "signalled", "signal": 9, "core": False}, 137, ""),
        ({"kind": "breached", "limit": "wall"}, 124, "job 7: ended because it exceeded its wall"),
        ({"kind": "stopped", "by": "ann"}, 143, "job 7: stopped by ann"),
        ({"kind": "stopped", "by": "shutdown"}, 75, "job 7: stopped with all jobs of its machine"),
        ({"kind": "not_started", "errno": 2, "sentence": "no x"}, 125, "job 7: could not start"),
        ({"kind": "lost", "why": "reboot"}, 75, "job 7: lost: reboot"),
    ],
)
def test_the_exit_code_follows_the_outcome(
    outcome: dict[str, Any], code: int, sentence: str
) -> None:
    found, exit_message = get_exit_code(ended(outcome))
    assert found == code
    assert exit_message.startswith(sentence)
    assert bool(exit_message) == bool(sentence)


def test_a_job_that_never_started_has_a_reason() -> None:
    assert get_exit_code(ended(None, "cancelled by ann")) == (
        125,
        "job 7 was not started: cancelled by ann",
    )
