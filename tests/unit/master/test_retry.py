"""What each kind of end makes of a job."""

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


def past(**given: Any) -> AttemptHistory:
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
def test_without_a_budget(outcome: o.Outcome, event: JobEvent, code: str) -> None:
    verdict = decide(outcome, a_command(), past())
    assert (verdict.event, verdict.reason_code) == (event, code)
    assert verdict.hold == 0
    assert bool(verdict.reason) == (event is not DONE)


def test_a_stop_that_was_asked_for_decides_unless_it_came_too_late() -> None:
    asked = past(stop_requested_by="anna")
    assert decide(o.Stopped("anna"), a_command(), asked).event is CANCELLED
    assert decide(o.Exited(1), a_command(failures=3), asked).event is CANCELLED
    assert decide(o.Lost("x"), a_command(), asked).event is CANCELLED
    assert decide(o.Exited(0), a_command(), asked).event is DONE
    assert decide_returned(asked, "never").event is CANCELLED


def test_a_machine_that_is_short_of_something_costs_its_jobs_nothing_but_time() -> None:
    short = o.NotStarted(11, "this machine: Resource temporarily unavailable")
    command = a_command(failures=1)
    for n, least_s, most_s in ((1, 7, 13), (2, 15, 25), (9, 450, 750)):
        verdict = decide(short, command, past(n=n, losses=1))
        assert (verdict.event, verdict.failed, verdict.losses) == (AGAIN, 0, 1)
        assert least_s <= verdict.wait_s <= most_s
    assert decide(short, command, past(stop_requested_by="anna")).event is CANCELLED


def test_failures_are_run_again_until_the_budget_is_used_up() -> None:
    command = a_command(failures=2, backoff_s=60.0)
    verdicts = [decide(o.Exited(1), command, past(n=n + 1, failures=n)) for n in range(3)]
    assert [each.event for each in verdicts] == [AGAIN, AGAIN, FAILED]
    assert [each.failed for each in verdicts] == [1, 1, 1]
    assert 45 <= verdicts[0].wait_s <= 75
    assert 90 <= verdicts[1].wait_s <= 150


def test_only_the_outcomes_that_were_named_are_run_again() -> None:
    command = a_command(failures=2, on=("signalled",))
    assert decide(o.Exited(1), command, past()).event is FAILED
    assert decide(o.Signalled(9), command, past()).event is AGAIN


@pytest.mark.parametrize("outcome", [o.Exited(75), o.Lost("x"), o.Stopped("window")])
def test_what_is_not_the_commands_fault_uses_no_budget(outcome: o.Outcome) -> None:
    verdict = decide(outcome, a_command(failures=1), past())
    assert (verdict.event, verdict.failed) == (AGAIN, 0)


def test_later_waits_longer_each_time_and_not_for_ever() -> None:
    waits = [decide(o.Exited(75), a_command(), past(n=n)).wait_s for n in range(1, 40)]
    assert waits[0] < waits[2] < waits[5]
    assert max(waits) <= 1.25 * 6 * 3600


def test_the_code_of_an_ad_hoc_run_is_its_own() -> None:
    assert decide(o.Exited(75), a_command(name=RUN), past()).event is FAILED


def test_seventy_five_may_mean_success() -> None:
    assert decide(o.Exited(75), a_command(success=(0, 75)), past()).event is DONE


def test_what_the_output_says_puts_the_whole_command_off() -> None:
    verdict = decide(o.Exited(1), a_command(), past(), later_match="NAS offline")
    assert (verdict.event, verdict.reason_code, verdict.defers_command, verdict.failed) == (
        AGAIN, "later", True, 0,
    )  # fmt: skip
    assert '"NAS offline"' in verdict.reason
    assert verdict.wait_s > 0
    assert not decide(o.Exited(0), a_command(), past(), later_match="NAS offline").defers_command


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
def test_a_broken_limit_is_treated_as_its_command_says(
    on_breach: str, failures: int, event: JobEvent, hold: int
) -> None:
    command = a_command(on_breach=on_breach, failures=failures)
    verdict = decide(o.Breached("memory"), command, past())
    assert (verdict.event, verdict.hold) == (event, hold)


def test_a_job_that_is_lost_three_times_in_a_row_is_held() -> None:
    verdicts = [decide(o.Lost("x"), a_command(), past(n=n + 1, losses=n)) for n in range(3)]
    assert [(each.losses, each.hold) for each in verdicts] == [(1, 0), (2, 0), (3, 1)]
    # One that ends otherwise begins the count anew; one that never started leaves it.
    assert decide(o.Stopped("window"), a_command(), past(losses=2)).losses == 0
    assert decide_returned(past(losses=2), "it came too late").losses == 2


@pytest.mark.parametrize("outcome", [o.Lost("x"), o.Stopped("lease")])
def test_a_command_that_says_hold_is_held_when_its_machine_is_lost(outcome: o.Outcome) -> None:
    verdict = decide(outcome, a_command(), past(silence="hold"))
    assert (verdict.event, verdict.hold, verdict.reason_code) == (AGAIN, 1, "lost")


def test_waits_are_spread_and_the_same_everywhere() -> None:
    waits = [backoff_s(60.0, 0, past(job_id=job)) for job in range(200)]
    assert waits == [backoff_s(60.0, 0, past(job_id=job)) for job in range(200)]
    assert min(waits) < 50
    assert max(waits) > 70
    assert all(45 <= each <= 75 for each in waits)


def test_a_long_first_wait_is_not_cut_short() -> None:
    assert backoff_s(100_000.0, 3, past()) >= 75_000


def test_what_is_given_back_again_and_again_waits_a_little() -> None:
    waits = [decide_returned(past(n=n), "its zone is not known here").wait_s for n in range(1, 20)]
    assert waits[:2] == [0.0, 0.0]
    assert 0.75 <= waits[2] <= 1.25
    assert waits[4] < waits[6] < waits[9] == 60.0
