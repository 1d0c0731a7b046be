"""Retry decisions for each kind of outcome."""

from __future__ import annotations

from typing import Any

import pytest

from mythjobs.master.attempts.retry import AttemptHistory, backoff_s, decide, decide_returned
from mythjobs.model import outcome as o
from mythjobs.model.command import RUN, Command
from mythjobs.model.life import JobEvent
from mythjobs.model.policy_tables import Retry

DONE, FAILED, AGAIN, CANCELLED, RETURNED = (
    JobEvent.SUCCEEDED,
    JobEvent.FAILED,
    JobEvent.REQUEUED,
    JobEvent.CANCELLED,
    JobEvent.RETURNED,
)


def a_command(**given: Any) -> Command:
    retry = Retry(**{name: given.pop(name) for name in list(given) if name in Retry.__slots__})
    return Command(given.pop("name", "transcode"), argv=("x",), retry=retry, **given)


def history(**given: Any) -> AttemptHistory:
    return AttemptHistory(**{"job_id": 7, "n": 1, **given})


@pytest.mark.parametrize(
    "outcome, event, code",
    [
        (o.Exited(0), DONE, ""),
        (o.Exited(1), FAILED, "exited"),
        (o.Signalled(11), FAILED, "signalled"),
        (o.Breached("wall"), FAILED, "breached"),
        (o.NotStarted(2, "no such file"), FAILED, "not_started"),
        (o.NotStarted(24, "a pipe for its output: Too many open files"), AGAIN, "again"),
        (o.Exited(75), AGAIN, "later"),
        (o.Lost("the machine restarted"), AGAIN, "again"),
        (o.Stopped("shutdown"), AGAIN, "again"),
        (o.Stopped("window"), AGAIN, "again"),
        (o.Stopped("window_closed"), FAILED, "window_closed"),
        (o.Stopped("lease"), AGAIN, "again"),
    ],
)
def test_outcomes_without_retries(outcome: o.Outcome, event: JobEvent, code: str) -> None:
    decision = decide(outcome, a_command(), history())
    assert (decision.event, decision.reason_code) == (event, code)
    assert decision.hold == 0
    assert bool(decision.reason) == (event is not DONE)


def test_a_requested_stop_cancels_unless_the_job_succeeded() -> None:
    asked = history(stop_requested_by="anna")
    assert decide(o.Stopped("anna"), a_command(), asked).event is CANCELLED
    assert decide(o.Exited(1), a_command(failures=3), asked).event is CANCELLED
    assert decide(o.Lost("x"), a_command(), asked).event is CANCELLED
    assert decide(o.Exited(0), a_command(), asked).event is DONE
    assert decide_returned(asked, "never").event is CANCELLED


def test_a_resource_shortage_of_the_machine_only_delays_its_jobs() -> None:
    short = o.NotStarted(11, "this machine: Resource temporarily unavailable")
    command = a_command(failures=1)
    for n, least_s, most_s in ((1, 7, 13), (2, 15, 25), (9, 450, 750)):
        decision = decide(short, command, history(n=n, losses=1))
        assert (decision.event, decision.failed, decision.losses) == (AGAIN, 0, 1)
        assert least_s <= decision.wait_s <= most_s
    assert decide(short, command, history(stop_requested_by="anna")).event is CANCELLED


def test_failures_are_retried_until_the_budget_is_used_up() -> None:
    command = a_command(failures=2, backoff_s=60.0)
    decisions = [decide(o.Exited(1), command, history(n=n + 1, failures=n)) for n in range(3)]
    assert [each.event for each in decisions] == [AGAIN, AGAIN, FAILED]
    assert [each.failed for each in decisions] == [1, 1, 1]
    assert 45 <= decisions[0].wait_s <= 75
    assert 90 <= decisions[1].wait_s <= 150


def test_only_the_configured_outcomes_are_retried() -> None:
    command = a_command(failures=2, on=("signalled",))
    assert decide(o.Exited(1), command, history()).event is FAILED
    assert decide(o.Signalled(9), command, history()).event is AGAIN


@pytest.mark.parametrize("outcome", [o.Exited(75), o.Lost("x"), o.Stopped("window")])
def test_an_end_without_fault_of_the_command_uses_no_budget(outcome: o.Outcome) -> None:
    decision = decide(outcome, a_command(failures=1), history())
    assert (decision.event, decision.failed) == (AGAIN, 0)


def test_the_delay_after_exit_code_75_grows_to_a_maximum() -> None:
    waits = [decide(o.Exited(75), a_command(), history(n=n)).wait_s for n in range(1, 40)]
    assert waits[0] < waits[2] < waits[5]
    assert max(waits) <= 1.25 * 6 * 3600


def test_exit_code_75_of_an_ad_hoc_run_is_a_failure() -> None:
    assert decide(o.Exited(75), a_command(name=RUN), history()).event is FAILED


def test_exit_code_75_can_be_configured_as_success() -> None:
    assert decide(o.Exited(75), a_command(success=(0, 75)), history()).event is DONE


def test_a_match_of_later_defers_the_whole_command() -> None:
    decision = decide(o.Exited(1), a_command(), history(), later_match="NAS offline")
    assert (decision.event, decision.reason_code, decision.defers_command, decision.failed) == (
        AGAIN, "later", True, 0,
    )  # fmt: skip
    assert '"NAS offline"' in decision.reason
    assert decision.wait_s > 0
    assert not decide(o.Exited(0), a_command(), history(), later_match="NAS offline").defers_command


@pytest.mark.parametrize(
    "on_breach, failures, event, hold",
    [
        ("", 0, FAILED, 0),
        ("", 1, AGAIN, 0),
        ("fail", 5, FAILED, 0),
        ("retry", 0, AGAIN, 0),
        ("hold", 0, AGAIN, 1),
    ],
)
def test_a_breach_follows_on_breach(
    on_breach: str, failures: int, event: JobEvent, hold: int
) -> None:
    command = a_command(on_breach=on_breach, failures=failures)
    decision = decide(o.Breached("memory"), command, history())
    assert (decision.event, decision.hold) == (event, hold)


def test_a_job_that_is_lost_three_times_in_a_row_is_held() -> None:
    decisions = [decide(o.Lost("x"), a_command(), history(n=n + 1, losses=n)) for n in range(3)]
    assert [(each.losses, each.hold) for each in decisions] == [(1, 0), (2, 0), (3, 1)]
    # Any other end resets the count; an attempt that never started leaves the count.
    assert decide(o.Stopped("window"), a_command(), history(losses=2)).losses == 0
    assert decide_returned(history(losses=2), "it came too late").losses == 2


@pytest.mark.parametrize("outcome", [o.Lost("x"), o.Stopped("lease")])
def test_a_lost_job_of_a_command_with_silence_hold_is_held(outcome: o.Outcome) -> None:
    decision = decide(outcome, a_command(), history(silence="hold"))
    assert (decision.event, decision.hold, decision.reason_code) == (AGAIN, 1, "lost")


def test_backoff_is_spread_and_deterministic() -> None:
    waits = [backoff_s(60.0, 0, history(job_id=job)) for job in range(200)]
    assert waits == [backoff_s(60.0, 0, history(job_id=job)) for job in range(200)]
    assert min(waits) < 50
    assert max(waits) > 70
    assert all(45 <= each <= 75 for each in waits)


def test_a_long_first_backoff_is_not_shortened() -> None:
    assert backoff_s(100_000.0, 3, history()) >= 75_000


def test_a_job_returned_repeatedly_is_delayed() -> None:
    waits = [
        decide_returned(history(n=n), "its zone is not known here").wait_s for n in range(1, 20)
    ]
    assert waits[:2] == [0.0, 0.0]
    assert 0.75 <= waits[2] <= 1.25
    assert waits[4] < waits[6] < waits[9] == 60.0
