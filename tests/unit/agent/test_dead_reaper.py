"""Recovery of a dead reaper whose files were damaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mythjobs.agent.dead_reaper import recover_reaper
from mythjobs.config.state import AgentDir

_BOOT = "b1"
_END: dict[str, Any] = {
    "type": "ended",
    "seq": 1,
    "job": 1,
    "n": 1,
    "outcome": {"kind": "exited", "code": 0},
    "usage": {"wall_s": 0.5, "exact": True},
    "started_ms": 1000,
    "ended_ms": 1500,
    "output": [[6, 6, 0]],
}


def _recover(root: Path, end: dict[str, Any]) -> Any:
    agent = AgentDir(root)
    agent.create()
    directory = agent.reapers / "r1"
    directory.mkdir()
    # The machine has restarted since, so no process is looked for.
    records = [{"reaper": {"reaper": "r1", "boot_id": "b0"}}, {"start": [1, 1]}, {"end": end}]
    lines = [json.dumps(each) + "\n" for each in records]
    (directory / "journal").write_text("".join(lines))
    return recover_reaper(directory, agent, _BOOT)


@pytest.mark.parametrize(
    "damaged",
    [
        {"outcome": None},
        {"outcome": {"kind": "exitee", "code": 0}},
        {"outcome": {"kind": "exited", "code": "0"}},
        {"outcome": {"kind": "exited", "code": 0.5}},
        {"started_ms": "1000"},
        {"ended_ms": None},
        {"ended_ms": 10**30},
        {"usage": None},
        {"usage": {"wall_s": "x"}},
        {"usage": {"wall_s": None}},
        {"output": [[6, 6]]},
        {"output": [[6, -6, 0]]},
        {"output": 7},
        {"data": [5]},
        {"left": [[5]]},
        {"unenforced": [None]},
    ],
)
def test_an_attempt_with_a_damaged_end_is_lost(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damaged: dict[str, Any]
) -> None:
    dead = _recover(tmp_path, _END | damaged)
    assert dead.ended == []
    assert [each.key for each in dead.lost] == [(1, 1)]
    assert "the end of job 1.1 is damaged" in caplog.text


def test_an_undamaged_end_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    notes = {"later": "x", "left": [[5, "sh"]], "next": [2, 1], "new field": []}
    dead = _recover(tmp_path, _END | notes)
    assert dead.ended == [_END | notes]
    assert not dead.lost
    assert not caplog.text
