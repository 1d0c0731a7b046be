import json
import re
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from mythjobs.cli.main import run
from mythjobs.store.open import open_store
from tests.integration.cli.conftest import Call
from tests.integration.cli.samples import STATUS
from tests.integration.cli.scripted import Master, error

SOUND: dict[str, Any] = {"violations": [], "count": 0}
BROKEN: dict[str, Any] = {
    "violations": [{"invariant": "I2", "job": 7, "sentence": "job 7 has two live attempts"}],
    "count": 3,
}


@pytest.fixture
def stopped(tmp_path: Path) -> Path:
    """Return a state directory with a store and no master."""
    root = tmp_path / "stopped"
    root.mkdir(mode=0o700)
    open_store(root / "store.db", unsafe=True).close()
    return root


def test_check_prints_the_violations_that_the_master_found(call: Call, master: Master) -> None:
    master.answers["GET check"] = SOUND
    assert call("check") == (0, "all invariants of the store hold\n", "")
    master.answers["GET check"] = BROKEN
    assert call("check") == (
        1,
        "",
        "mythjobs: I2: job 7 has two live attempts\nmythjobs: and 2 more\n",
    )
    assert json.loads(call("check", "--json").out) == BROKEN


def test_check_opens_a_store_that_no_master_has(
    stopped: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["--state-dir", str(stopped), "check"]) == 0
    with sqlite3.connect(stopped / "store.db") as store:
        store.execute("INSERT INTO tally VALUES (9, 'queued', 4)")
    store.close()
    assert run(["--state-dir", str(stopped), "check"]) == 1
    assert "mythjobs: COUNT: " in capfd.readouterr().err


def test_check_reports_a_damaged_store(stopped: Path, capfd: pytest.CaptureFixture[str]) -> None:
    # The damage is found only when the page is read.
    with open(stopped / "store.db", "r+b") as file:
        file.seek(20_000)
        file.write(b"\xa5" * 4_000)
    assert run(["--state-dir", str(stopped), "check"]) == 74
    output = capfd.readouterr().err
    assert output.startswith(f"mythjobs: the store {stopped}/store.db is damaged (")
    assert output.endswith("; restore a backup with `mythjobs restore FILE`\n")
    assert output.count("\n") == 1


def test_check_without_a_store_is_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["--state-dir", str(tmp_path), "check"]) == 69
    assert "there is no store to check" in capfd.readouterr().err


def test_a_backup_is_a_complete_store(stopped: Path, capfd: pytest.CaptureFixture[str]) -> None:
    target = stopped / "copy.db"
    assert run(["--state-dir", str(stopped), "backup", str(target)]) == 0
    assert capfd.readouterr().out.startswith(f"store copied to {target} (")
    assert target.stat().st_mode & 0o777 == 0o600
    assert run(["--state-dir", str(stopped), "backup", str(target)]) == 2
    assert "already exists" in capfd.readouterr().err
    open_store(target, unsafe=True).close()


def test_a_backup_without_a_name_is_refused(call: Call, master: Master) -> None:
    assert call("backup", "") == (
        2,
        "",
        "mythjobs: the name of the new file is empty; give a path\n",
    )
    assert master.requests == []


def test_the_help_of_backup_names_restore(call: Call) -> None:
    # A copy put in place by hand would reuse ids of jobs.
    assert "mythjobs restore FILE" in call("backup", "--help").out


def test_a_backup_copies_the_store_of_the_running_master(call: Call, master: Master) -> None:
    master.answers["GET status"] = {**STATUS, "store": "postgresql://ann@db/jobs"}
    done = call("backup", "copy.db")
    assert (done.code, "pg_dump" in done.err) == (2, True)


def test_prune_requires_confirmation_of_the_number_of_jobs(
    call: Call, master: Master, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = {"queued": 0, "succeeded": 312, "failed": 2}
    master.answers["GET jobs/count"] = {"counts": counts}
    master.answers["POST jobs/prune"] = {"jobs": 310}
    arguments = ("prune", "--older-than", "30d", "--state", "succeeded,failed")
    with open("/dev/null") as empty:
        monkeypatch.setattr("sys.stdin", empty)
        refused = call(*arguments)
    assert refused.code == 2
    assert "delete 312 succeeded and 2 failed jobs ended before 20" in refused.err
    assert "; stdin is not a terminal, so give --yes" in refused.err
    assert call(*arguments, "--yes") == (0, "310 jobs deleted\n", "")
    sent = master.requests[-1].json
    assert sent["states"] == ["succeeded", "failed"]
    assert sent["before_ms"] == int(master.requests[-2].query["ended_before_ms"])


def test_prune_accepts_an_age_before_1970(call: Call, master: Master) -> None:
    master.answers["GET jobs/count"] = {"counts": {"failed": 0}}
    assert call("prune", "--older-than", "36500d") == (0, "no jobs deleted\n", "")
    assert master.requests[0].query["ended_before_ms"] == "0"
    for too_long in ("36501d", "9" * 400 + "d"):
        done = call("prune", "--older-than", too_long)
        assert (done.code, "is too long" in done.err) == (2, True)


def test_prune_needs_no_confirmation_without_old_jobs(call: Call, master: Master) -> None:
    master.answers["GET jobs/count"] = {"counts": {"failed": 0}}
    assert call("prune", "--older-than", "30d") == (0, "no jobs deleted\n", "")
    assert master.requests[0].query["state"] == "cancelled,failed,succeeded"
    assert call("prune", "--older-than", "30d", "--state", "queued").code == 2


WHAT_IF: dict[str, Any] = {
    "since_ms": 1_800_000_000_000,
    "jobs": 2,
    "commands": [
        {
            "command": "thumbnail",
            "jobs": 2,
            "now": {"mean_wait_s": 0.5, "last_end_ms": 1_800_000_060_000, "never": 0, "cut": 0},
            "then": {"mean_wait_s": None, "last_end_ms": None, "never": 1, "cut": 1},
        }
    ],
    "changed": [
        {
            "id": number,
            "command": "thumbnail",
            "submitted_ms": 1_800_000_000_000,
            "now": {
                "machine": "attic",
                "start_ms": 1_800_000_000_000,
                "end_ms": 1_800_000_060_000,
                "cut": False,
            },
            "then": {"machine": None, "start_ms": None, "end_ms": None, "cut": False},
        }
        for number in (7, 8)
    ],
}


def test_what_if_shows_both_replays(call: Call, master: Master, tmp_path: Path) -> None:
    file = tmp_path / "night.toml"
    file.write_text("[machines.attic]\njobs = 1\n")
    master.answers["POST what-if"] = WHAT_IF
    out = call("what-if", str(file), "--limit", "1").out
    assert master.requests[0].json == {"machines": {"attic": {"jobs": 1}}}
    assert out.startswith("2 jobs since 20")
    assert "1 never, 1 cut" in out
    assert "  7  thumbnail  attic 20" in out
    assert out.endswith("  never\n1 more differ; see --limit and --json\n")
    assert json.loads(call("what-if", str(file), "--json").out) == WHAT_IF


def test_what_if_shows_seconds_of_runs_that_differ_by_less_than_a_minute(
    call: Call, master: Master, tmp_path: Path
) -> None:
    # Seen: `attic 2026-11-30 09:07 to 09:08` in both columns of the jobs that differ.
    file = tmp_path / "night.toml"
    file.write_text("[machines.attic]\njobs = 1\n")
    [changed, _] = WHAT_IF["changed"]
    later = changed["now"] | {"start_ms": 1_800_000_002_000, "end_ms": 1_800_000_062_000}
    master.answers["POST what-if"] = WHAT_IF | {"changed": [changed | {"then": later}]}
    line = call("what-if", str(file)).out.splitlines()[-1]
    assert re.search(r":00 to [\d:]+:00  attic .*:02 to [\d:]+:02$", line)


def test_what_if_names_the_line_of_invalid_toml(call: Call, tmp_path: Path) -> None:
    file = tmp_path / "night.toml"
    file.write_text("[machines.attic]\njobs = \n")
    done = call("what-if", str(file))
    assert (done.code, f"{file} line 2: invalid TOML" in done.err) == (2, True)


def test_what_if_names_the_line_of_a_refused_key(
    call: Call, master: Master, tmp_path: Path
) -> None:
    file = tmp_path / "night.toml"
    file.write_text("[machines.attic]\njobs = 1\nlimit = 3\n")
    output = "machines.attic.limit: unknown key"
    master.answers["POST what-if"] = error(400, "bad_definition", output)
    assert call("what-if", str(file)) == (2, "", f"mythjobs: {file} line 3: {output}\n")
