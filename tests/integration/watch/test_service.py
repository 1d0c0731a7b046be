"""Watches of real directories, with a real queue."""

import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mythjobs.cli.main import run
from mythjobs.errors import BadRequest, MythJobsError, NoSuchCommand, StoreFull
from mythjobs.watch.directory_scan import FileFilter, find_remote_file_system
from tests.integration.watch.watching import TIMEOUT_S, RefusingClient, Watching, make_deep
from tests.support.disks import fill_disk, mount_small_disk
from tests.support.recording_disk import mount_recording_disk
from tests.support.running_queue import RunningQueue


@pytest.mark.slow
def test_new_files_become_jobs(queue: RunningQueue, inbox: Path) -> None:
    (inbox / "before.ts").write_text("x")
    with Watching(queue.client, inbox, accepted=FileFilter(("*.ts",), (), True)) as watching:
        watching.wait_for("note")
        (inbox / "new's $(file).ts").write_text("x")
        (inbox / "other.txt").write_text("x")
        (inbox / "half.part").write_text("x")
        watching.wait_for("submitted")
        (inbox / "half.part").rename(inbox / "half.ts")
        watching.wait_for("submitted", 2)
        (inbox / "sub").mkdir()
        (inbox / "sub" / "deep.ts").write_text("x")
        watching.wait_for("submitted", 3)
    submitted = [each for each in watching.events if each.kind == "submitted"]
    names = [os.path.relpath(each.path, inbox) for each in submitted]
    assert names == ["new's $(file).ts", "half.ts", "sub/deep.ts"]
    job = queue.client.get(f"jobs/{submitted[0].job}")
    assert job["arguments"] == {"source": str(inbox / "new's $(file).ts")}
    assert job["subject"] == str(inbox / "new's $(file).ts")


@pytest.mark.slow
def test_a_restart_repeats_nothing_and_misses_nothing(queue: RunningQueue, inbox: Path) -> None:
    (inbox / "a").write_text("x")
    with Watching(queue.client, inbox, includes_present=True) as first:
        first.wait_for("submitted")
    (inbox / "b").write_text("x")
    with Watching(queue.client, inbox) as second:
        second.wait_for("submitted")
    assert [os.path.basename(each.path) for each in second.events] == ["b"]
    # Without the state file the queue still knows the jobs by their keys.
    (inbox.parent / "watch.json").unlink()
    with Watching(queue.client, inbox, is_once=True) as third:
        third.wait_for("known", 2)
    assert {each.job for each in third.events} == {
        each.job for each in (*first.events, *second.events)
    }


@pytest.mark.slow
def test_a_changed_file_is_new_unless_its_job_changed_it(queue: RunningQueue, inbox: Path) -> None:
    path = inbox / "a"
    path.write_text("x")
    with Watching(queue.client, inbox, includes_present=True, command="append") as watching:
        watching.wait_for("submitted")
        job = watching.events[0].job
        deadline_s = time.monotonic() + TIMEOUT_S
        while queue.client.get(f"jobs/{job}")["state"] != "succeeded":
            assert time.monotonic() < deadline_s
            time.sleep(0.02)
        assert path.read_text() == "xmore\n"
        (inbox / "b").write_text("x")  # handled after the change of a
        watching.wait_for("submitted", 2)
        os.utime(path, (time.time() + 60, time.time() + 60))
        watching.wait_for("submitted", 3)
    assert [os.path.basename(each.path) for each in watching.events] == ["a", "b", "a"]


@pytest.mark.slow
def test_results_in_the_watched_directory_do_not_become_jobs_for_ever(
    queue: RunningQueue, inbox: Path
) -> None:
    # Seen: `watch --once` of a command that writes beside its input submitted jobs without end.
    (inbox / "a.ts").write_text("x")
    with Watching(queue.client, inbox, includes_present=True, command="beside") as watching:
        watching.wait_for("refused")
    assert watching.kinds() == ["submitted", "note", "submitted", "submitted", "refused"]
    [note] = [each.sentence for each in watching.events if each.kind == "note"]
    assert note.startswith(f"{inbox}/a.ts.out was written while job {watching.events[0].job} about")
    assert "--exclude '*.out'" in note
    assert watching.events[-1].path == f"{inbox}/a.ts.out.out.out"
    assert not (inbox / "a.ts.out.out.out.out").exists()


@pytest.mark.slow
def test_a_file_is_taken_when_its_writer_has_closed_it(queue: RunningQueue, inbox: Path) -> None:
    with Watching(queue.client, inbox, includes_present=True) as watching:
        with (inbox / "slow").open("w") as file:
            file.write("x")
            file.flush()
            (inbox / "quick").write_text("x")
            watching.wait_for("submitted")
        watching.wait_for("submitted", 2)
    assert [os.path.basename(each.path) for each in watching.events] == ["quick", "slow"]


def test_a_job_that_is_refused_does_not_stop_the_watch(queue: RunningQueue, inbox: Path) -> None:
    (inbox / "a").write_text("x")
    (inbox / os.fsdecode(b"\xff")).write_text("x")
    with Watching(queue.client, inbox, is_once=True, arguments={"no": "1"}) as watching:
        watching.wait_for("refused", 2)
    assert {"UTF-8" in each.sentence for each in watching.events} == {True, False}
    assert watching.watch.refused == 2


@pytest.mark.parametrize("error", [StoreFull("the disk is full"), NoSuchCommand("no command look")])
def test_a_file_is_submitted_again_after_an_error_that_is_not_its_own(
    queue: RunningQueue, inbox: Path, error: MythJobsError
) -> None:
    (inbox / "a").write_text("x")
    client = RefusingClient(queue.client._address)
    client.error = error
    with Watching(client, inbox, includes_present=True) as watching:
        watching.wait_for("submitted")
    assert watching.kinds() == ["waiting", "submitted"]


def test_a_state_file_that_cannot_be_written_does_not_stop_the_watch(
    queue: RunningQueue, inbox: Path
) -> None:
    (inbox / "a").write_text("x")
    watching = Watching(queue.client, inbox, includes_present=True)
    with mount_small_disk(inbox.parent) as disk:
        watching.watch._state = disk / "watch.json"
        ballast = fill_disk(disk)
        with watching:
            watching.wait_for("note")
            (inbox / "b").write_text("x")
            watching.wait_for("submitted", 2)
            ballast.unlink()
        assert watching.kinds() == ["submitted", "note", "submitted"]
        saved = json.loads((disk / "watch.json").read_text())
    assert set(saved["files"]) == {str(inbox / "a"), str(inbox / "b")}


@pytest.mark.slow
def test_a_directory_that_cannot_be_watched_does_not_end_the_notifications(
    queue: RunningQueue, inbox: Path
) -> None:
    (inbox / "sub").mkdir()
    make_deep(inbox, 1500)
    accepted = FileFilter(is_recursive=True)
    try:
        with Watching(
            queue.client, inbox, accepted=accepted, poll_s=600, includes_present=True
        ) as watching:
            watching.wait_for("note")
            (inbox / "sub" / "a").write_text("x")
            watching.wait_for("submitted")
    finally:
        subprocess.run(["rm", "-rf", str(inbox / "deep")], check=True)
    assert watching.kinds() == ["note", "submitted"]
    assert watching.events[0].sentence.endswith("/deep is left out: File name too long")


def test_a_file_in_place_of_the_directory_is_refused(queue: RunningQueue, inbox: Path) -> None:
    (inbox / "a").write_text("x")
    watching = Watching(queue.client, inbox / "a", is_once=True)
    with pytest.raises(BadRequest, match="Not a directory"):
        watching.watch.run()


@pytest.mark.slow
def test_the_command_ends_cleanly(queue: RunningQueue, inbox: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "mythjobs", "--state-dir", queue.root, "watch", inbox,
         "--command", "look", "--settle", "0.1s", "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        # It locks its state before it reads the directory.
        deadline_s = time.monotonic() + TIMEOUT_S
        while not list((queue.root / "watch").glob("*.lock")):
            assert time.monotonic() < deadline_s
            time.sleep(0.02)
        while True:  # until the first start has taken what is present
            (inbox / f"new{time.monotonic_ns()}").write_text("x")
            ready, _, _ = select.select([process.stdout], [], [], 0.5)
            if ready:
                break
        assert json.loads(process.stdout.readline())["kind"] in ("submitted", "note")
        process.send_signal(signal.SIGINT)
        assert process.wait(TIMEOUT_S) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""


@pytest.mark.parametrize(
    "arguments, says",
    [
        (["--command", "missing"], 'no command "missing"'),
        (["--command", "run"], "no other required parameter of type path"),
        (["--command", "look", "--as", "x"], 'no parameter "x"'),
        (["--command", "look", "-p", "x=1"], 'no parameter "x"'),
        (["--command", "look", "--as", "source", "-p", "source=/x"], "and --as gives it the path"),
        (["--command", "look", "--rate", "10"], "like 10/1m"),
        (["--command", "look", "--rate", "0/1m"], "like 10/1m"),
    ],
)
def test_wrong_requests(
    queue: RunningQueue, inbox: Path, capfd: pytest.CaptureFixture[str],
    arguments: list[str], says: str,
) -> None:  # fmt: skip
    code = run(["--state-dir", str(queue.root), "watch", str(inbox), *arguments])
    assert code == 2
    assert says in capfd.readouterr().err


def test_a_directory_without_a_name_is_refused(
    queue: RunningQueue, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = ["watch", "", "--command", "look", "--once"]
    assert run(["--state-dir", str(queue.root), *arguments]) == 2
    assert "the name of the directory is empty; give a path" in capfd.readouterr().err


def test_a_directory_that_does_not_exist(
    queue: RunningQueue, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = ["watch", "/nonexistent", "--command", "look", "--once"]
    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGIO)]
    try:
        assert run(["--state-dir", str(queue.root), *arguments]) == 2
    finally:
        for number, handler in zip(
            (signal.SIGINT, signal.SIGTERM, signal.SIGIO), before, strict=True
        ):
            signal.signal(number, handler)
    assert "cannot watch /nonexistent: No such file or directory" in capfd.readouterr().err


@pytest.mark.slow
def test_a_network_file_system_is_read_at_intervals(
    queue: RunningQueue, tmp_path: Path, inbox: Path
) -> None:
    with mount_recording_disk(tmp_path) as mounted:
        assert find_remote_file_system(str(mounted.path)) == "fuse"
        with Watching(queue.client, mounted.path, poll_s=0.1) as watching:
            watching.wait_for("note")
    [event] = watching.events
    assert event.sentence == (
        f"{mounted.path} is on fuse, which does not notify of changes: it is read every 0.1 s"
    )
