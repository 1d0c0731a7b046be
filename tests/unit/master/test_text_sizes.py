"""Texts that are too long for the index of a store are refused, whatever the store."""

from __future__ import annotations

import pytest

from mythjobs.errors import BadRequest
from mythjobs.master.handlers.submit import MAX_SUBJECT_BYTES
from tests.unit.master.harness import Harness


def test_a_subject_is_limited_in_bytes(master: Harness) -> None:
    master.define()
    # Two bytes each in UTF-8.
    text = "\N{LATIN SMALL LETTER E WITH ACUTE}" * (MAX_SUBJECT_BYTES // 2)
    assert master.submit(subject=text).new
    with pytest.raises(BadRequest, match="the subject has 2002 bytes, and at most 2000"):
        master.submit(subject=text + "aa")


def test_requirements_of_a_job_are_limited_in_bytes(master: Harness) -> None:
    master.define()
    with pytest.raises(BadRequest, match="labels, semaphores and limits of the job have"):
        master.submit(labels=[f"label{number}" for number in range(300)])
