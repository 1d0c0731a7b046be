from __future__ import annotations

import pytest

from mythjobs.model.incident import KINDS
from mythjobs.model.message_text import (
    MessageFacts,
    check_template,
    make_title,
    render,
)

SINCE = "2026-11-24 12:00"


def facts(kind: str = "failed", times: int = 1, **fields: object) -> MessageFacts:
    return MessageFacts(kind, "backup", times, 0)._replace(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "given, title",
    [
        (facts(), "backup failed"),
        (facts(times=1000), "backup failed 1,000 times"),
        (facts("recovered", times=3), "backup succeeds again"),
        (facts("held"), "backup is held"),
        (facts("held", times=2), "2 jobs of backup are held"),
        (facts("slow"), "backup runs longer than usual"),
        (facts("slow", times=2), "2 jobs of backup run longer than usual"),
        (facts("missed", times=2), "backup was missed 2 times"),
        (facts("batch"), "backup is done"),
        (facts("batch", times=2), "2 batches of backup are done"),
        (facts("lost", name="attic"), "machine attic is not reachable"),
        (facts("returned", name="attic"), "machine attic is back"),
        (facts("channel", name="mail"), "notification channel mail fails"),
    ],
)
def test_the_title_says_what_happened(given: MessageFacts, title: str) -> None:
    assert make_title([given]) == title


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_has_a_text(kind: str) -> None:
    title, body = render([facts(kind, times=2, detail="why")], "", "", SINCE)
    assert title.startswith("mythjobs: ")
    assert "mythjobs " in body


def test_one_message_names_all_lost_machines() -> None:
    lost = [facts("lost", name=f"m{n:02}", detail="no contact for 3 min") for n in range(12)]
    title = make_title(lost)
    assert title.startswith("12 machines are not reachable: m00, m01,")
    assert title.endswith("m09, …")
    body = render([lost[0]._replace(affected=2), lost[1]], "", "", SINCE)[1]
    assert "m00: no contact for 3 min" in body
    assert "2 of their jobs failed or are held" in body


def test_the_default_text_has_the_last_lines_and_the_command_that_shows_more() -> None:
    given = facts(times=3, job=12, n=1, machine="attic", detail="exit code 2")
    body = render([given], "", "tar: error\ntar: exiting", SINCE)[1]
    assert body == (
        "job 12 on attic: exit code 2\n\n"
        "This is the last of 3 since 2026-11-24 12:00.\n\n"
        "Last lines of its output:\n  tar: error\n  tar: exiting\n\n"
        "mythjobs show 12"
    )


def test_a_template_sets_title_and_body() -> None:
    template = "{name} {count}x\n\n{reason}: {lines} {{}}\n{show} {job}.{attempt} {since}"
    given = facts(times=3, job=12, n=1, detail="exit code 2")
    title, body = render([given], template, "bad", SINCE)
    assert title == "backup 3x"
    assert body == "exit code 2: bad {}\nmythjobs show 12 12.1 2026-11-24 12:00"


@pytest.mark.parametrize(
    "template, error",
    [
        ("{nothing}", "there is no {nothing}; known are title"),
        ("{", "neither a placeholder"),
        ("x" * 4001, "is longer than 4000 characters"),
    ],
)
def test_invalid_templates_are_refused(template: str, error: str) -> None:
    with pytest.raises(ValueError, match=error):
        check_template(template)
