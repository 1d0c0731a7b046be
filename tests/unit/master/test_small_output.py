"""Output that comes with the end of an attempt: kept in the store until it is deleted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mythjobs.errors import ProtocolError
from mythjobs.master.attempts.small_output import encode_output_data
from mythjobs.model import outcome as o
from mythjobs.model.output_window import SMALL_OUTPUT_BYTES
from mythjobs.protocol import messages as m
from mythjobs.store.queries.job_details import read_attempt_output
from mythjobs.store.writes import outputs
from tests.unit.master.lease_harness import LeaseHarness

OUTPUT = [(2, 2, 0), (0, 0, 0)]
DATA = ["Yf8=", ""]


@pytest.fixture
def master(tmp_path: Path) -> Iterator[LeaseHarness]:
    master = LeaseHarness(tmp_path)
    yield master
    master.close()


def run_job(master: LeaseHarness, **more: object) -> int:
    attic = master.join("attic")
    job = master.start_job()
    master.end(attic, job, 1, o.Exited(0), **more)
    return job


def read_data(master: LeaseHarness, job: int) -> list[bytes]:
    with master.store.snapshot() as tx:
        return list(read_attempt_output(tx, job, None)["data"])


def test_small_output_is_in_the_store_until_it_is_deleted(master: LeaseHarness) -> None:
    job = run_job(master, output=OUTPUT, data=DATA)
    assert read_data(master, job) == [b"a\xff", b""]
    assert master.store.run_transaction(lambda tx: outputs.remove(tx, [(job, 1)]))[0] == 2
    assert read_data(master, job) == []


def test_other_output_is_not_in_the_store(master: LeaseHarness) -> None:
    assert read_data(master, run_job(master, output=OUTPUT)) == []


@pytest.mark.parametrize(
    "data",
    [
        ["Yf8="],
        ["Yf8=", "Yg=="],
        ["Yf8", ""],
        ["Y*==", ""],
    ],
)
def test_data_that_is_not_the_kept_output_is_refused(data: list[str]) -> None:
    with pytest.raises(ProtocolError, match="output of job 1"):
        encode_output_data(m.Ended(1, 1, {}, None, 0, {}, OUTPUT, data=data))


def test_too_much_data_is_refused() -> None:
    size = SMALL_OUTPUT_BYTES + 2
    too_much = m.Ended(1, 1, {}, None, 0, {}, [(size, size, 0)], data=["AAAA" * (size // 3)])
    with pytest.raises(ProtocolError, match="output of job 1"):
        encode_output_data(too_much)
