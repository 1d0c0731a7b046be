"""The audit of the torture sees each kind of broken promise: a judge who never convicts is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tests.acceptance.testimony import Attempt, Job, Key, Kill, Life, audit, lives

S = 1_000_000_000
EXITED = {"kind": "exited", "code": 0}
LOST = {"kind": "lost", "why": "the reaper died"}


def a_life(start_s: float = 1, last_s: float = 2, code: int | None = 0, **more: Any) -> Life:
    given = {"starts": 1, "bytes": 100} | more
    return Life(start_ns=int(start_s * S), last_ns=int(last_s * S), code=code, **given)


def an_attempt(outcome: Mapping[str, Any] = EXITED, **more: Any) -> Attempt:
    return Attempt("attic", True, outcome, 100)._replace(**more)


def violations(
    told: Mapping[Key, Life],
    attempts: Mapping[Key, Attempt],
    *,
    state: str = "succeeded",
    last_n: int = 1,
    stopped: bool = False,
    kills: Sequence[Kill] = (),
    cancelled: Sequence[int] = (),
    acknowledged: Mapping[str, int] | None = None,
) -> list[str]:
    """By their names only."""
    jobs = {1: Job(state, last_n, "k0", stopped)}
    known = {"k0": 1} if acknowledged is None else acknowledged
    found = audit(told, jobs, attempts, known, cancelled, kills).violations
    return [each.split(":")[0] for each in found]


def test_a_job_that_ran_once_and_succeeded_breaks_nothing() -> None:
    assert violations({(1, 1): a_life()}, {(1, 1): an_attempt()}) == []


def test_lines_of_a_witness_are_one_life() -> None:
    told = lives(["start 1 2 77 1000", "beat 1 2 77 2000", "end:3:40 1 2 77 3000"])
    wrote = 40 + len("end:3:40 1 2 77 3000\n")
    assert told == {(1, 2): Life(1, 1000, 3000, 3, wrote)}


def test_a_second_run_is_excused_only_by_the_kill_of_its_reaper() -> None:
    told = {(1, 1): a_life(1, 2, code=None), (1, 2): a_life(4, 5)}
    attempts = {(1, 1): an_attempt(LOST), (1, 2): an_attempt()}

    def seen(*kills: Kill) -> list[str]:
        return violations(told, attempts, last_n=2, kills=kills)

    assert seen(Kill("reaper", "attic", 2 * S)) == []
    again = ["0 wrong outcomes", "0 second runs"]
    assert seen() == again
    assert seen(Kill("agent", "attic", 2 * S)) == again
    assert seen(Kill("reaper", "cellar", 2 * S)) == again
    assert seen(Kill("reaper", "attic", 20 * S)) == again


def test_attempts_that_run_together_are_seen_also_when_their_reaper_was_killed() -> None:
    told = {(1, 1): a_life(1, 5, code=None), (1, 2): a_life(4, 6)}
    attempts = {(1, 1): an_attempt(LOST), (1, 2): an_attempt()}
    assert violations(told, attempts, last_n=2, kills=[Kill("reaper", "attic", 2 * S)]) == ["I4"]


def test_an_attempt_that_met_the_lock_of_another_is_seen() -> None:
    [told] = lives(["overlap 1 1 77 1000"]).values()
    assert "I4" in violations({(1, 1): told}, {(1, 1): an_attempt(LOST)})


def test_an_attempt_that_was_started_twice_is_seen() -> None:
    assert violations({(1, 1): a_life(starts=2)}, {(1, 1): an_attempt()}) == ["I8"]


def test_a_process_that_the_store_does_not_know_is_seen() -> None:
    told = {(1, 1): a_life(), (1, 2): a_life(3, 4)}
    assert "I6" in violations(told, {(1, 1): an_attempt()})


def test_a_wrong_outcome_is_seen() -> None:
    assert violations({(1, 1): a_life(code=3)}, {(1, 1): an_attempt()}) == ["I21", "I21"]
    assert violations({}, {(1, 1): an_attempt()}) == ["I21", "I21"]
    assert "0 wrong outcomes" in violations({(1, 1): a_life()}, {(1, 1): an_attempt(LOST)})


def test_output_that_was_lost_is_seen() -> None:
    assert violations({(1, 1): a_life(bytes=101)}, {(1, 1): an_attempt()}) == ["I12"]


def test_a_lost_job_or_key_or_cancel_is_seen() -> None:
    told, attempts = {(1, 1): a_life()}, {(1, 1): an_attempt()}
    assert violations(told, attempts, acknowledged={"k0": 1, "k1": 2}) == ["I1"]
    assert violations(told, attempts, acknowledged={"k9": 1}) == ["I1"]
    failed = {(1, 1): a_life(code=3)}, {(1, 1): an_attempt({"kind": "exited", "code": 3})}
    assert violations(*failed, state="failed", cancelled=[1]) == ["I13"]


def test_what_is_not_over_after_all_is_over_is_seen() -> None:
    assert violations({}, {}, state="queued", last_n=0) == ["I7"]
    assert violations({}, {(1, 1): an_attempt(over=False)}, state="leased") == ["I7", "I7"]
