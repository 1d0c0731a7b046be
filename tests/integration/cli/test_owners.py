import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.integration.cli.conftest import Call
from tests.integration.cli.samples import WHOLE_MACHINE
from tests.integration.cli.scripted import Master
from tests.integration.cli.test_command import editor


@pytest.fixture(autouse=True)
def here(tmp_path: Path, master: Master, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    master.answers["GET machines/attic"] = WHOLE_MACHINE
    for act in ("settings", "hours"):
        master.answers[f"POST machines/attic/{act}"] = WHOLE_MACHINE


def test_what_is_shown_of_a_machine_is_what_set_takes(call: Call, master: Master) -> None:
    stands = {"command": "thumbnail", "kind": "pause", "until_ms": 1_800_000_000_000}
    master.answers["GET machines/attic"] = {**WHOLE_MACHINE, "overrides": [stands]}
    shown = call("machine", "show", "attic").out
    assert shown.startswith("# attic: up, runs 1 of 4 jobs, time zone Europe/Berlin\n")
    assert "# closed for thumbnail until 2027-01-15" in shown
    assert tomllib.loads(shown) == WHOLE_MACHINE["settings"]

    Path("attic.toml").write_text(shown)
    assert call("machine", "set", "attic", "attic.toml").code == 0
    assert master.asked[-1].json == {"settings": WHOLE_MACHINE["settings"]}


def test_wrong_settings_are_named_by_line_and_nothing_is_sent(call: Call, master: Master) -> None:
    Path("a.toml").write_text('jobs = 2\n\n[commands.x.windows]\nopen = ["22:00-22:00"]\n')
    done = call("machine", "set", "attic", "a.toml")
    assert (done.code, done.out) == (2, "")
    assert "a.toml line 4: commands.x.windows.open" in done.err
    assert master.asked == []


def test_settings_are_edited(
    call: Call, master: Master, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VISUAL", editor(tmp_path / "ed", 'sed -i "s/jobs = 4/jobs = 2/" "$2"'))
    done = call("machine", "edit", "attic")
    assert done == (0, "attic runs at most 4 jobs; allowed: all but backup\n", "")
    assert master.asked[-1].json["settings"]["jobs"] == 2


@pytest.mark.parametrize("words", [[], ["a.toml", "--jobs", "1"]])
def test_set_needs_one_thing_to_set(call: Call, words: list[str]) -> None:
    done = call("machine", "set", "attic", *words)
    assert (done.code, "give a file, or --jobs or --zone" in done.err) == (2, True)


@pytest.mark.parametrize(
    "words, kind, of",
    [
        (["open", "attic", "--until", "2099-01-02 22:00"], "allow", None),
        (["close", "attic", "thumbnail", "--until", "2099-01-02 22:00"], "pause", "thumbnail"),
    ],
)
def test_a_machine_is_opened_or_closed_for_once(
    call: Call, master: Master, words: list[str], kind: str, of: str | None
) -> None:
    done = call("machine", *words)
    word = {"allow": "open", "pause": "closed"}[kind]
    assert done.out == (
        f"attic is {word} for {of or 'every command'} until 2099-01-02 22:00, regardless of "
        "run windows\n"
    )
    sent = master.asked[0].json
    assert (sent["kind"], sent["command"]) == (kind, of)
    assert sent["until_ms"] > 4_000_000_000_000


def test_how_long_is_said_once(call: Call, master: Master) -> None:
    assert call("machine", "open", "attic", "--for", "2h").code == 0
    for words in ([], ["--for", "2h", "--until", "23:00"]):
        done = call("machine", "open", "attic", *words)
        assert (done.code, "give either --until or --for" in done.err) == (2, True)


def test_the_usual_hours_hold_again(call: Call, master: Master) -> None:
    done = call("machine", "hours", "attic", "thumbnail")
    assert done == (0, "attic uses its run windows for thumbnail\n", "")
    sent = {"kind": "hours", "command": "thumbnail", "until_ms": None}
    assert master.asked[0].json == sent


def test_a_machine_is_declared_dead_only_with_yes_where_nobody_can_be_asked(
    call: Call, master: Master, monkeypatch: pytest.MonkeyPatch
) -> None:
    master.answers["GET machines/attic"] = {**WHOLE_MACHINE, "leased": 2}
    master.answers["POST machines/attic/dead"] = {"name": "attic", "jobs": [7, 8]}
    words = ("machine", "dead", "attic", "--reason", "it burned")
    with open("/dev/null") as empty:
        monkeypatch.setattr("sys.stdin", empty)
        refused = call(*words)
    assert refused.code == 2
    assert "attic has 2 jobs, which may run again on other machines; stdin is not" in (refused.err)
    assert len(master.asked) == 1
    done = call(*words, "--yes")
    assert done == (0, "attic is declared dead; lost jobs: 7, 8\n", "")
    assert master.asked[-1].json == {"reason": "it burned"}


def test_semaphores_are_listed_set_and_removed(call: Call, master: Master) -> None:
    found: dict[str, Any] = {"semaphores": [{"name": "nas", "size": 3, "used": 1}]}
    for ask in ("GET semaphores", "POST semaphores/nas", "DELETE semaphores/nas"):
        master.answers[ask] = found
    table = "semaphore  used  units\nnas           1      3\n"
    assert call("semaphore", "list") == (0, table, "")
    assert call("semaphore", "set", "nas", "3") == (0, table, "")
    assert master.asked[-1].json == {"size": 3}
    assert call("semaphore", "set", "nas", "3", "--free-when-frozen").code == 0
    assert master.asked[-1].json == {"size": 3, "free_when_frozen": True}
    assert call("semaphore", "remove", "nas").code == 0
    assert json.loads(call("semaphore", "list", "--json").out) == found["semaphores"]
