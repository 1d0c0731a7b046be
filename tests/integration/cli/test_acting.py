import json
from typing import Any

import pytest

from tests.integration.cli.conftest import Call
from tests.integration.cli.samples import WHOLE_MACHINE
from tests.integration.cli.scripted import Master


@pytest.mark.parametrize("act", ["cancel", "hold", "release"])
def test_what_was_done_is_said_and_what_could_not_is_told(
    call: Call, master: Master, act: str
) -> None:
    acted: list[dict[str, Any]] = [
        {"id": 7, "state": "queued", "done": "held", "error": ""},
        {"id": 8, "state": "", "done": "", "error": "there is no job 8"},
    ]
    master.answers[f"POST jobs/{act}"] = {"jobs": acted}
    done = call(act, "7", "8")
    assert done == (2, "job 7 held\n", "mythjobs: there is no job 8\n")
    assert master.asked[0].json == {"ids": [7, 8]}
    assert json.loads(call(act, "7", "8", "--json").out) == acted


def test_rerun_names_the_new_job(call: Call, master: Master) -> None:
    acted = [{"id": 7, "state": "failed", "done": "9", "error": ""}]
    master.answers["POST jobs/rerun"] = {"jobs": acted}
    assert call("rerun", "7") == (0, "job 9 runs job 7 again\n", "")


@pytest.mark.parametrize(
    "words, body",
    [
        (["allow", "my attic", "a", "b"], {"allow": ["a", "b"]}),
        (["allow", "my attic", "--all"], {"allow": "all"}),
        (["deny", "my attic", "a"], {"deny": ["a"]}),
        (["set", "my attic", "--jobs", "0"], {"jobs": 0}),
        (["set", "my attic", "--zone", "UTC", "--jobs", "2"], {"zone": "UTC", "jobs": 2}),
    ],
)
def test_a_machine_is_changed(
    call: Call, master: Master, words: list[str], body: dict[str, Any]
) -> None:
    master.answers["POST machines/my%20attic"] = WHOLE_MACHINE
    done = call("machine", *words)
    assert done == (0, "attic runs at most 4 jobs; allowed: all but backup\n", "")
    assert master.asked[0].json == body


def test_allow_needs_commands_or_all(call: Call) -> None:
    assert call("machine", "allow", "attic").err == (
        "mythjobs: name commands, or give --all; see `mythjobs machine allow --help`\n"
    )
    assert call("machine", "allow", "attic", "a", "--all").code == 2
