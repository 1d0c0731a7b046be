"""The agent's scaler with real processes: what it admits, learns, keeps and tells the master."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mythjobs.agent.scaler import Scaler, find_leftover_freezes
from mythjobs.agent.scaling.counters import JobKey
from mythjobs.agent.scaling.footprint import Footprint
from mythjobs.clock import Now
from mythjobs.protocol.scaling import Headroom

FIRST, SECOND = (1, 1), (2, 1)
GIB = 2**30


def at(seconds: float) -> Now:
    ms = round(seconds * 1000)
    return Now(1_700_000_000_000 + ms, ms, ms)


def started(key: JobKey, pid: int) -> dict[str, Any]:
    return {"type": "started", "job": key[0], "n": key[1], "pid": pid, "at_ms": 0}


def ended(key: JobKey, *, wall_s: float, code: int = 0, **usage: float) -> dict[str, Any]:
    return {
        "type": "ended", "job": key[0], "n": key[1],
        "outcome": {"kind": "exited", "code": code},
        "usage": {
            "wall_s": wall_s, "user_s": 0.0, "system_s": 0.0, "peak_bytes": 0, "read_bytes": 0,
            "written_bytes": 0, **usage,
        },
    }  # fmt: skip


@pytest.fixture
def scaler(tmp_path: Path) -> Iterator[Scaler]:
    found = Scaler(tmp_path / "scaling.json", tmp_path)
    yield found
    found.close()


def test_a_new_command_is_admitted_once_and_the_reason_is_sent(scaler: Scaler) -> None:
    scaler.set_waiting(["encode"])
    sent = scaler.find_headroom({}, at(0))
    assert sent == Headroom({"encode": 1}, 1)
    scaler.mark_sent(sent)
    assert scaler.admit(FIRST, "encode", at(0))
    assert not scaler.admit(SECOND, "encode", at(0))
    reason = "the use of encode is being measured, as it is new here"
    sent = scaler.find_headroom({}, at(0))
    assert sent is not None
    assert (sent.fits, sent.reasons) == ({"encode": 0}, {"encode": reason})
    # It is sent again only if it changes.
    scaler.mark_sent(sent)
    assert scaler.find_headroom({}, at(0)) is None
    scaler.reset_connection()
    assert scaler.find_headroom({}, at(0)) is not None


def test_a_refused_attempt_leaves_no_room_for_its_command(scaler: Scaler) -> None:
    scaler.set_waiting(["encode", "copy"])
    sent = scaler.find_headroom({FIRST: "encode"}, at(0))
    assert sent is not None
    assert sent.fits == {"encode": 0, "copy": 1}
    scaler.mark_sent(sent)
    # The memory that becomes free is kept for an attempt that has waited for a minute.
    scaler.controller.footprints["encode"] = Footprint(9, peak_bytes=2**60, wall_s=60)
    scaler.set_waiting(["copy"])
    sent = scaler.find_headroom({FIRST: "encode"}, at(61))
    assert sent is not None
    assert (sent.fits, sent.other) == ({"encode": 0, "copy": 0}, 0)
    assert sent.reasons["copy"] == "a job that has waited longer starts first"
    scaler.mark_sent(sent)
    # What has room beside that attempt is started.
    scaler.controller.footprints["encode"] = Footprint(9, cpu=0.5, wall_s=60)
    sent = scaler.find_headroom({FIRST: "encode", SECOND: "encode"}, at(62))
    assert sent is not None
    assert sent.fits["copy"] == 1


def test_the_tightest_program_decides_for_ad_hoc_jobs(scaler: Scaler) -> None:
    scaler.set_waiting(["run"])
    assert scaler.admit(FIRST, "run sh", at(0))
    sent = scaler.find_headroom({}, at(0))
    assert sent is not None
    assert sent.fits == {"run": 0}
    assert "run sh" in sent.reasons["run"]


def test_the_room_is_that_of_the_command_of_which_most_jobs_fit(scaler: Scaler) -> None:
    assert scaler.room == 0
    scaler.controller.footprints["fetch"] = Footprint(3, cpu=0.01, wall_s=60)
    scaler.set_waiting(["encode", "fetch"])
    scaler.mark_sent(scaler.find_headroom({}, at(0)))
    assert scaler.room == 64
    assert scaler.sent_headroom == Headroom({"encode": 1, "fetch": 64}, 1)


def test_an_agent_that_does_not_scale_thaws_what_an_earlier_one_froze() -> None:
    frozen = {"type": "frozen", "job": 1, "n": 1}
    by_user = {**frozen, "holders": ["user"]}
    by_load = {**frozen, "job": 2, "holders": ["pressure", "user"]}
    [change] = find_leftover_freezes([by_user, by_load, started(FIRST, 1)])
    assert (change.key, change.on) == ((2, 1), False)


def test_an_ended_job_teaches_its_footprint_which_is_kept_and_sent(
    scaler: Scaler, tmp_path: Path
) -> None:
    assert scaler.admit(FIRST, "encode", at(0))
    messages = [ended(FIRST, wall_s=10, user_s=19.0, system_s=1.0, peak_bytes=GIB)]
    assert scaler.record_messages(messages, at(10)) == []
    footprint = scaler.controller.footprints["encode"]
    assert footprint.peak_bytes == GIB
    assert footprint.wall_s == pytest.approx(10)
    assert footprint.cpu == pytest.approx(min(2.0, scaler.controller.cores))
    assert scaler.take_footprints() == {"encode": footprint.to_json()}
    assert scaler.take_footprints() == {}
    scaler.close()
    again = Scaler(tmp_path / "scaling.json", tmp_path)
    assert again.controller.footprints["encode"].to_json() == footprint.to_json()
    again.close()


def test_a_job_that_fails_at_once_teaches_nothing(scaler: Scaler) -> None:
    assert scaler.admit(FIRST, "encode", at(0))
    scaler.record_messages([ended(FIRST, wall_s=0.1, code=1)], at(1))
    assert scaler.controller.footprints == {}


def test_frozen_time_does_not_lengthen_a_run(scaler: Scaler) -> None:
    assert scaler.admit(FIRST, "encode", at(0))
    scaler.record_messages([ended(FIRST, wall_s=100, frozen_s=90, user_s=10)], at(100))
    assert scaler.controller.footprints["encode"].wall_s == pytest.approx(10)


def test_the_master_s_footprints_are_the_first_guess_only(scaler: Scaler) -> None:
    own = scaler.controller.footprints["copy"] = Footprint(5, cpu=0.1, wall_s=60)
    row = Footprint(9, cpu=2.0, wall_s=60).to_json()
    scaler.add_footprints({"copy": row, "encode": row, "broken": [1]})
    assert scaler.controller.footprints["copy"] is own
    assert scaler.controller.footprints["encode"].cpu == 2.0
    assert "broken" not in scaler.controller.footprints


def test_a_damaged_file_is_ignored(tmp_path: Path) -> None:
    (tmp_path / "scaling.json").write_text('{"machine": {}, "commands": {"x": [1]}}')
    scaler = Scaler(tmp_path / "scaling.json", tmp_path)
    assert scaler.controller.footprints == {}
    scaler.close()


def test_a_lack_of_descriptors_skips_one_measurement(
    scaler: Scaler, caplog: pytest.LogCaptureFixture
) -> None:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, start_new_session=True) as child:
        assert scaler.admit(FIRST, "encode", at(0))
        scaler.set_background(FIRST, 19)
        scaler.record_messages([started(FIRST, child.pid)], at(0))
        assert os.sched_getscheduler(child.pid) == os.SCHED_BATCH
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        try:
            assert scaler.step([], at(1)) == []
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert "cannot measure the load of this machine: [Errno 24]" in caplog.text
        assert scaler.load is None
        scaler.step([], at(2))
        assert scaler.load is not None
        child.communicate()


def test_an_attempt_that_ended_unseen_is_dropped_and_an_earlier_agent_s_adopted(
    scaler: Scaler,
) -> None:
    assert scaler.admit(FIRST, "encode", at(0))
    scaler.adopt({SECOND: "copy"}, at(1))
    assert scaler.controller.list_measured(2) == [SECOND]
    scaler.adopt({}, at(2))
    assert not scaler.has_jobs


def test_a_job_that_an_earlier_agent_froze_is_thawed_and_a_paused_one_is_not(
    scaler: Scaler,
) -> None:
    def frozen(key: JobKey, holder: str) -> dict[str, Any]:
        return {"type": "frozen", "job": key[0], "n": key[1], "holders": [holder]}

    pid = os.getpid()
    scaler.record_messages([started(FIRST, pid), started(SECOND, pid)], at(0))
    # The reaper says so right after its hello.
    scaler.record_messages([frozen(FIRST, "pressure"), frozen(SECOND, "user")], at(0))
    scaler.adopt({FIRST: "encode", SECOND: "copy"}, at(1))
    changes = [*scaler.step([], at(1)), *scaler.step([], at(2)), *scaler.step([], at(3))]
    assert [(each.key, each.on) for each in changes] == [(FIRST, False)]


@pytest.mark.slow
def test_the_load_of_a_real_job_is_measured(scaler: Scaler) -> None:
    program = (
        "import time\nwhile time.process_time() < 0.3: pass\nprint('ready', flush=True)\ninput()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout
        assert scaler.admit(FIRST, "encode", at(0))
        scaler.record_messages([started(FIRST, child.pid)], at(0))
        assert scaler.step([], at(0)) == []
        assert child.stdout.readline() == "ready\n"
        scaler.step([], at(1))
        child.communicate("\n")
    assert scaler.load is not None
    assert 0 < scaler.load.available_bytes <= scaler.load.memory_bytes
    scaler.record_messages([ended(FIRST, wall_s=1, user_s=0.3)], at(1))
    assert scaler.controller.footprints["encode"].cpu >= 0.25


def test_a_footprint_of_another_machine_is_used_but_not_reported_as_own(scaler: Scaler) -> None:
    scaler.add_footprints({"encode": [3, 2.0, GIB, 60.0, 0.0, {}]})
    scaler.set_waiting(["encode"])
    # A new command would have room for one job only, and count as one core.
    assert scaler.controller.predict("encode").cpu == 2.0
    scaler.reset_connection()
    assert scaler.take_footprints() == {}
    assert scaler.admit(FIRST, "encode", at(0))
    scaler.record_messages([started(FIRST, os.getpid()), ended(FIRST, wall_s=3.0)], at(3))
    assert list(scaler.take_footprints()) == ["encode"]
