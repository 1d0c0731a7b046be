"""Decisions about messages: pure functions of incidents, earlier notifications and the time."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from mythjobs.master.notify.notification import Key, Notification, decide
from mythjobs.model.incident import Incident

MINUTE = 60.0
HOUR = 3600.0
START_MS = 1_795_521_600_000


class Story:
    """Feeds decide() as turns do; `at_s` moves the time, and runs the decisions due on the way."""

    def __init__(self) -> None:
        self.known: dict[Key, Notification] = {}
        self.messages: list[tuple[float, str, tuple[int, ...]]] = []
        self.snoozed: dict[str, int] = {}
        self.now_s = 0.0
        self._next_id = 1

    def at(self, now_s: float, *incidents: Incident) -> None:
        while (due_s := self._find_due_s()) is not None and due_s < now_s:
            self._decide(max(due_s, self.now_s), [])
        self._decide(now_s, incidents)

    def _find_due_s(self) -> float | None:
        due = [each.next_ms for each in self.known.values() if each.next_ms is not None]
        return (min(due) - START_MS) / 1000 if due else None

    def _decide(self, now_s: float, incidents: Sequence[Incident]) -> None:
        self.now_s = now_s
        now_ms = START_MS + round(1000 * now_s)
        decision = decide(self.known, incidents, self.snoozed, self._next_id, now_ms)
        for each in decision.changed:
            self._next_id = max(self._next_id, each.notification_id + 1)
            if each.ended_ms is not None and each.next_ms is None:
                self.known.pop(each.key, None)
            else:
                self.known[each.key] = each
        for message in decision.announcements:
            counts = tuple(each.incidents for each in message.notifications)
            self.messages.append((now_s, message.kind, counts))


def failed(job: int = 1, **fields: object) -> Incident:
    return Incident("failed", "command 5", "backup", job=job)._replace(**fields)  # type: ignore[arg-type]


RECOVERED = Incident("recovered", "command 5", "backup")


def machine(kind: str, number: int = 1) -> Incident:
    return Incident(kind, f"machine {number}", f"m{number}", machine_id=number)


def test_the_first_failure_is_announced_at_once() -> None:
    story = Story()
    story.at(0, failed())
    assert story.messages == [(0, "failed", (1,))]


def test_a_thousand_failures_in_a_minute_cause_three_messages_with_the_right_count() -> None:
    story = Story()
    for number in range(1000):
        story.at(number * 0.06, failed(number))
    story.at(24 * HOUR)
    assert len(story.messages) <= 3
    assert story.messages[0][0] == 0
    assert story.messages[-1][2] == (1000,)
    assert story.known["failed", "command 5"].incidents == 1000


def test_lasting_trouble_is_announced_ever_less_often() -> None:
    story = Story()
    for number in range(3 * 24 * 60):  # once a minute for three days
        story.at(number * MINUTE, failed(number))
    hours = [round(at_s / HOUR, 1) for at_s, _, _ in story.messages]
    assert hours == [0, 0, 0.2, 1.2, 7.2, 31.2, 55.2]


def test_a_failure_after_a_quiet_hour_is_announced_at_once() -> None:
    story = Story()
    story.at(0, failed(1))
    story.at(24 * HOUR, failed(2))
    assert story.messages == [(0, "failed", (1,)), (24 * HOUR, "failed", (2,))]


def test_a_success_the_next_night_is_announced_at_once() -> None:
    story = Story()
    story.at(0, failed())
    story.at(24 * HOUR, RECOVERED)
    story.at(24 * HOUR + 5, RECOVERED)
    assert story.messages == [(0, "failed", (1,)), (24 * HOUR, "recovered", (1,))]


def test_successes_among_failures_are_no_recovery() -> None:
    story = Story()
    for number in range(60):
        story.at(20.0 * number, failed(number))
        story.at(20.0 * number + 10, RECOVERED)
    assert "recovered" not in [kind for _, kind, _ in story.messages]
    story.at(HOUR)
    assert story.messages[-1][1:] == ("recovered", (60,))
    assert len(story.messages) <= 4


def test_a_command_that_fails_and_succeeds_in_turns_causes_few_messages() -> None:
    story = Story()
    for number in range(96):  # for two days: fails, succeeds 15 minutes later
        story.at(number * HOUR / 2, failed(number))
        story.at(number * HOUR / 2 + 900, RECOVERED)
    assert len(story.messages) <= 12


def test_ten_machines_behind_one_router_are_one_message_each_way() -> None:
    story = Story()
    story.at(0, *(machine("lost", n) for n in range(1, 11)))
    assert story.messages == [(0, "lost", (1,) * 10)]
    for n in range(1, 11):
        story.at(600 + 5 * n, machine("returned", n))
    story.at(HOUR)
    assert [kind for _, kind, _ in story.messages] == ["lost", "returned"]
    assert len(story.messages[1][2]) == 10


def test_a_return_waits_only_a_while_for_the_other_machines() -> None:
    story = Story()
    story.at(0, machine("lost", 1), machine("lost", 2))
    story.at(600, machine("returned", 1))
    story.at(HOUR)
    assert story.messages[1:] == [(720, "returned", (1,))]


def test_a_lost_machine_silences_its_jobs() -> None:
    story = Story()
    story.at(0, machine("lost"))
    for number in range(5):
        held = Incident("held", "command 5", "backup", job=number, machine_id=1, is_loss=True)
        story.at(100 + number, held)
    story.at(HOUR)
    assert {kind for _, kind, _ in story.messages} == {"lost"}
    assert len(story.messages) <= 3
    assert story.known["lost", "machine 1"].affected == 5
    assert ("held", "command 5") not in story.known


def test_a_loss_that_no_lost_machine_explains_is_announced() -> None:
    story = Story()
    story.at(0, failed(machine_id=1, is_loss=True))
    assert [kind for _, kind, _ in story.messages] == ["failed"]


def test_a_machine_that_is_lost_again_and_again_causes_few_messages() -> None:
    story = Story()
    for number in range(50):
        story.at(number * 400.0, machine("lost"))
        story.at(number * 400.0 + 200, machine("returned"))
    assert len(story.messages) <= 6


def test_after_a_snooze_one_message_has_the_count() -> None:
    story = Story()
    story.snoozed["command 5"] = START_MS + 7_200_000
    for number in range(10):
        story.at(number * 60.0, failed(number))
    assert story.messages == []
    story.at(3 * HOUR)
    assert story.messages == [(7200, "failed", (10,))]


def test_a_muted_incident_is_counted_but_not_announced() -> None:
    story = Story()
    story.at(0, failed(is_muted=True))
    story.at(HOUR)
    assert story.messages == []
    assert story.known["failed", "command 5"].incidents == 1


@pytest.mark.parametrize("kind", ["held", "slow", "missed", "late", "drifting", "batch"])
def test_other_notifications_end_after_a_quiet_hour(kind: str) -> None:
    story = Story()
    story.at(0, Incident(kind, "command 5", "backup"))
    story.at(3 * HOUR)
    assert story.known == {}
    assert story.messages == [(0, kind, (1,))]


def test_a_clock_that_is_set_back_a_year_delays_no_message() -> None:
    story = Story()
    story.at(0, failed(1), failed(2))
    story.at(5, failed(3))
    before = story.known["failed", "command 5"]
    year_s = 365 * 24 * HOUR
    story._decide(5 - year_s, [])
    story._decide(70 - year_s, [])
    after = story.known["failed", "command 5"]
    assert before.announced == 2
    assert after.incidents == 3
    assert after.next_ms is not None
    assert after.next_ms <= START_MS + 1000 * (70 - year_s) + 90_000_000
