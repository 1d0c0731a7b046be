"""Labels that a machine finds by itself: stored, shown, changed by its owner, used by placement."""

from __future__ import annotations

from typing import Any

import pytest

from mythjobs.errors import BadRequest
from mythjobs.master import requests
from mythjobs.master.explain import machine as machine_pages
from mythjobs.protocol import codec
from mythjobs.protocol import messages as m
from mythjobs.protocol.machine_responses import MachineDetails
from mythjobs.protocol.scaling import MachineDescription
from tests.unit.master.harness import Harness

CODEC = "ffmpeg:h264_vaapi"


def describe(master: Harness, *labels: str, gpus: tuple[str, ...] = ()) -> None:
    """Have the machine report its labels."""
    master._frames[1] += 1
    found = MachineDescription(list(labels), list(gpus))
    frame = m.AgentFrame(master._frames[1], 0, 4, [], description=found)
    frame = codec.decode_agent_frame(codec.encode(frame))
    master.turn(requests.FrameReceived(1, frame))


def page(master: Harness) -> MachineDetails:
    with master.store.transaction() as tx:
        return machine_pages.read_machine(tx, master.core.state, "attic", master.now)


def set_labels(master: Harness, *, add: tuple[str, ...] = (), remove: tuple[str, ...] = ()) -> Any:
    return master.request(requests.SetMachine("attic", labels=add, no_labels=remove))


def test_a_job_starts_when_its_machine_has_found_the_label(master: Harness) -> None:
    master.join()
    master.define(labels=[CODEC])
    job = master.submit()
    assert CODEC in job.reason
    assert master.rules(job.id)["attic"]["labels"] == f"has no label {CODEC}"
    describe(master, "ffmpeg", CODEC)
    assert master.take_grants() == [job.id]


def test_found_labels_are_known_before_the_machine_connects_again(master: Harness) -> None:
    master.join()
    describe(master, "comskip", "Not A Label", gpus=("Radeon",))
    assert page(master)["labels"] == ["comskip"]
    assert page(master)["gpus"] == ["Radeon"]
    master.restart()
    assert page(master)["labels"] == ["comskip"]


def test_an_owner_takes_a_found_label_away_and_gives_it_back(master: Harness) -> None:
    master.join()
    master.define(labels=["gpu"])
    describe(master, "gpu")
    set_labels(master, remove=("gpu",))
    job = master.submit()
    assert "its settings refuse gpu" in master.rules(job.id)["attic"]["labels"]
    assert page(master)["settings"]["no_labels"] == ["gpu"]
    set_labels(master, add=("gpu",))
    assert master.take_grants() == [job.id]
    assert "no_labels" not in page(master)["settings"]


def test_an_owners_label_that_is_taken_away_leaves_nothing_behind(master: Harness) -> None:
    master.join()
    set_labels(master, add=("fast-disk",))
    assert page(master)["labels"] == ["fast-disk"]
    set_labels(master, remove=("fast-disk",))
    assert page(master)["labels"] == []
    assert "no_labels" not in page(master)["settings"]
    with pytest.raises(BadRequest, match="attic has no label fast-disk"):
        set_labels(master, remove=("fast-disk",))
    with pytest.raises(BadRequest, match="both"):
        set_labels(master, add=("a",), remove=("a",))
