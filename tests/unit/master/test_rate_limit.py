"""A machine that connects again and again has to wait, and is refused in the end."""

from mythjobs.master.link.rate_limit import ConnectionRateLimit


def test_a_machine_may_connect_often_but_not_for_ever() -> None:
    """Seen: a machine that sent nonsense connected 130 times a second, and filled the log."""
    limit = ConnectionRateLimit()
    assert [limit.take("a", 100.0) for _ in range(32)] == [0.0] * 30 + [5.0, None]
    assert limit.take("a", 102.0) is None
    assert limit.take("a", 107.0) == 3.0
    assert limit.take("b", 107.0) == 0.0
    assert limit.take("a", 1000.0) == 0.0


def test_few_keys_are_remembered() -> None:
    limit = ConnectionRateLimit()
    for number in range(3000):
        limit.take(str(number), 0.0)
    assert len(limit._full_s) == 1000
