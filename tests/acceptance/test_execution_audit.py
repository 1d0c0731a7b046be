"""The execution audit of the torture test detects each kind of violation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tests.acceptance.execution_audit import (
    AttemptLog,
    Key,
    Kill,
    StoredAttempt,
    StoredJob,
    audit,
    parse_execution_log,
)

S = 1_000_000_000
EXITED = {"kind": "exited", "code": 0}
LOST = {"kind": "lost", "why": "the reaper died"}


def make_log(
    start_s: float = 1, last_s: float = 2, code: int | None = 0, **more: Any
) -> AttemptLog:
    given = {"starts": 1, "bytes": 100} | more
    return AttemptLog(
        start_ns=int(start_s * S), last_line_ns=int(last_s * S), exit_code=code, **given
    )


def make_attempt(outcome: Mapping[str, Any] = EXITED, **more: Any) -> StoredAttempt:
    return StoredAttempt("attic", True, outcome, 100)._replace(**more)


def violations(
    logs: Mapping[Key, AttemptLog],
    attempts: Mapping[Key, StoredAttempt],
    *,
    state: str = "succeeded",
    last_n: int = 1,
    stopped: bool = False,
    kills: Sequence[Kill] = (),
    cancelled: Sequence[int] = (),
    acknowledged: Mapping[str, int] | None = None,
) -> list[str]:
    """Return the names of violated invariants."""
    jobs = {1: StoredJob(state, last_n, "k0", stopped)}
    known = {"k0": 1} if acknowledged is None else acknowledged
    found = audit(logs, jobs, attempts, known, cancelled, kills).violations
    return [each.split(":")[0] for each in found]


def test_a_job_that_ran_once_and_succeeded_has_no_violation() -> None:
    assert violations({(1, 1): make_log()}, {(1, 1): make_attempt()}) == []


def test_log_lines_of_an_attempt_are_combined() -> None:
    logs = parse_execution_log(["start 1 2 77 1000", "beat 1 2 77 2000", "end:3:40 1 2 77 3000"])
    wrote = 40 + len("end:3:40 1 2 77 3000\n")
    assert logs == {(1, 2): AttemptLog(1, 1000, 3000, 3, wrote)}


def test_a_rerun_is_excused_only_by_a_kill_of_the_reaper() -> None:
    logs = {(1, 1): make_log(1, 2, code=None), (1, 2): make_log(4, 5)}
    attempts = {(1, 1): make_attempt(LOST), (1, 2): make_attempt()}

    def violations_after(*kills: Kill) -> list[str]:
        return violations(logs, attempts, last_n=2, kills=kills)

    assert violations_after(Kill("reaper", "attic", 2 * S)) == []
    unexcused = ["0 wrong outcomes", "0 second runs"]
    assert violations_after() == unexcused
    assert violations_after(Kill("agent", "attic", 2 * S)) == unexcused
    assert violations_after(Kill("reaper", "cellar", 2 * S)) == unexcused
    assert violations_after(Kill("reaper", "attic", 20 * S)) == unexcused


def test_concurrent_attempts_are_detected_also_after_a_kill_of_the_reaper() -> None:
    logs = {(1, 1): make_log(1, 5, code=None), (1, 2): make_log(4, 6)}
    attempts = {(1, 1): make_attempt(LOST), (1, 2): make_attempt()}
    assert violations(logs, attempts, last_n=2, kills=[Kill("reaper", "attic", 2 * S)]) == ["I4"]


def test_an_attempt_that_found_the_lock_held_is_detected() -> None:
    [logs] = parse_execution_log(["overlap 1 1 77 1000"]).values()
    assert "I4" in violations({(1, 1): logs}, {(1, 1): make_attempt(LOST)})


def test_an_attempt_that_started_twice_is_detected() -> None:
    assert violations({(1, 1): make_log(starts=2)}, {(1, 1): make_attempt()}) == ["I8"]


def test_a_process_without_an_attempt_in_the_store_is_detected() -> None:
    logs = {(1, 1): make_log(), (1, 2): make_log(3, 4)}
    assert "I6" in violations(logs, {(1, 1): make_attempt()})


def test_a_wrong_outcome_is_detected() -> None:
    assert violations({(1, 1): make_log(code=3)}, {(1, 1): make_attempt()}) == ["I21", "I21"]
    assert violations({}, {(1, 1): make_attempt()}) == ["I21", "I21"]
    assert "0 wrong outcomes" in violations({(1, 1): make_log()}, {(1, 1): make_attempt(LOST)})


def test_lost_output_is_detected() -> None:
    assert violations({(1, 1): make_log(bytes=101)}, {(1, 1): make_attempt()}) == ["I12"]


def test_a_lost_job_key_or_cancel_is_detected() -> None:
    logs, attempts = {(1, 1): make_log()}, {(1, 1): make_attempt()}
    assert violations(logs, attempts, acknowledged={"k0": 1, "k1": 2}) == ["I1"]
    assert violations(logs, attempts, acknowledged={"k9": 1}) == ["I1"]
    failed = {(1, 1): make_log(code=3)}, {(1, 1): make_attempt({"kind": "exited", "code": 3})}
    assert violations(*failed, state="failed", cancelled=[1]) == ["I13"]


def test_an_unfinished_job_or_attempt_is_detected() -> None:
    assert violations({}, {}, state="queued", last_n=0) == ["I7"]
    assert violations({}, {(1, 1): make_attempt(has_ended=False)}, state="leased") == ["I7", "I7"]
