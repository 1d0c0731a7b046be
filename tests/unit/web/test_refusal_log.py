"""What is refused is logged, and a flood of it makes a few lines."""

from __future__ import annotations

import asyncio

import pytest

from mythjobs.web.security.refusal_log import RefusalLog


@pytest.mark.parametrize("count", [1, 5])
def test_the_first_refusal_is_logged_at_once_and_the_number_of_the_others_later(
    count: int, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        refusals = RefusalLog(interval_s=0.001)
        for _ in range(count):
            refusals.add("10.0.0.1", "it does not use TLS")
        assert caplog.messages == ["refused 10.0.0.1: it does not use TLS"]
        # The report is due before this, as it was scheduled earlier.
        await asyncio.sleep(0.002)

    asyncio.run(story())
    repeats = ["refused 10.0.0.1 again, 4 times in 0.001 s: it does not use TLS"]
    assert caplog.messages[1:] == (repeats if count > 1 else [])


def test_many_addresses_and_causes_make_a_bounded_number_of_lines(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def story() -> None:
        refusals = RefusalLog()
        for number in range(1000):
            refusals.add(f"2001:db8::{number}", f"agent {number}\nwas rejected" + "x" * 10_000)

    asyncio.run(story())
    assert len(caplog.messages) == 17
    assert caplog.messages[0].startswith("refused 2001:db8::0: agent 0?was rejectedxxx")
    assert max(map(len, caplog.messages)) < 400
    assert caplog.messages[-1] == "refused other addresses: several causes"
