"""Watches whose directory is gone for a while, or replaced by another of the same name."""

import os
import shutil
from pathlib import Path

import pytest

from mythjobs.errors import StoreFull
from mythjobs.watch import file_tracker
from tests.integration.watch.watching import RefusingClient, Watching
from tests.support.running_queue import RunningQueue


@pytest.mark.slow
def test_a_directory_that_is_gone_for_a_while(queue: RunningQueue, inbox: Path) -> None:
    (inbox / "a").write_text("x")
    with Watching(queue.client, inbox, includes_present=True, poll_s=0.1) as watching:
        watching.wait_for("submitted")
        inbox.rename(inbox.with_name("away"))
        (inbox.parent / "away" / "b").write_text("x")
        watching.wait_for("waiting")
        inbox.with_name("away").rename(inbox)
        (inbox / "c").write_text("x")
        watching.wait_for("submitted", 3)
        # Another directory takes its place.
        shutil.rmtree(inbox)
        watching.wait_for("waiting", 2)
        inbox.mkdir()
        watching.wait_for("note", 2)
        (inbox / "d").write_text("x")
        watching.wait_for("submitted", 4)
    assert watching.kinds() == [
        "submitted", "waiting", "note", "submitted", "submitted", "waiting", "note", "submitted",
    ]  # fmt: skip


@pytest.mark.slow
def test_a_file_that_is_written_at_once_when_its_directory_is_back(
    queue: RunningQueue, inbox: Path
) -> None:
    """The new directory was watched after the scan: a file written between was found by the next
    safety scan, five minutes later."""

    def write_file(kind: str) -> None:
        if kind == "note":
            (inbox / "b").write_text("x")

    (inbox / "a").write_text("x")
    with Watching(queue.client, inbox, write_file, includes_present=True, poll_s=0.1) as watching:
        watching.wait_for("submitted")
        shutil.rmtree(inbox)
        watching.wait_for("waiting")
        inbox.mkdir()
        watching.wait_for("submitted", 2)
    assert watching.kinds() == ["submitted", "waiting", "note", "submitted"]


@pytest.mark.slow
def test_a_directory_that_is_replaced_at_once(queue: RunningQueue, inbox: Path) -> None:
    """No scan found that the directory was gone, so the one in its place was not watched."""
    other = inbox.with_name("other")
    (inbox / "a").write_text("x")
    with Watching(queue.client, inbox, includes_present=True, poll_s=0.1) as watching:
        watching.wait_for("submitted")
        (inbox / "a").unlink()
        other.mkdir()
        other.rename(inbox)
        (inbox / "b").write_text("x")
        watching.wait_for("submitted", 2)
        (inbox / "c").write_text("x")
        watching.wait_for("submitted", 3)
        # The old one goes on to exist under another name.
        other.mkdir()
        inbox.rename(inbox.with_name("away"))
        other.rename(inbox)
        (inbox / "d").write_text("x")
        watching.wait_for("submitted", 4)
        (inbox / "e").write_text("x")
        watching.wait_for("submitted", 5)
    submitted = [each.path for each in watching.events if each.kind == "submitted"]
    assert [os.path.basename(each) for each in submitted] == list("abcde")


@pytest.mark.slow
def test_no_job_is_submitted_while_the_directory_is_gone(
    queue: RunningQueue, inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its job could not read the file, and the file would count as handled."""
    monkeypatch.setattr(file_tracker, "_FIRST_RETRY_S", 0.0)
    (inbox / "a").write_text("x")
    away = inbox.with_name("away")
    client = RefusingClient(queue.client._address)
    client.error = StoreFull("the disk is full")

    def take_away(kind: str) -> None:
        if kind == "waiting" and inbox.exists():
            inbox.rename(away)

    with Watching(
        client, inbox, take_away, includes_present=True, poll_s=0.1, settle_s=0
    ) as watching:
        watching.wait_for("waiting", 2)
        away.rename(inbox)
        watching.wait_for("submitted")
    assert watching.kinds() == ["waiting", "waiting", "note", "submitted"]
