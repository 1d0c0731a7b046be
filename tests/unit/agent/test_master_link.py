"""How long an agent waits before it connects to its master again."""

from __future__ import annotations

from mythjobs.agent.master_link import choose_retry_delay_s

TRIES = 200


def test_agents_on_a_network_come_back_at_different_times() -> None:
    for failures, most_s in ((0, 2.0), (1, 4.0), (3, 16.0), (4, 30.0), (1000, 30.0)):
        delays = [choose_retry_delay_s(failures, is_local=False) for _ in range(TRIES)]
        assert 0.1 <= min(delays) < most_s / 4
        assert most_s * 3 / 4 < max(delays) <= most_s


def test_the_agent_of_the_master_s_own_machine_comes_back_at_once() -> None:
    # `mythjobs up` starts both together.
    assert {choose_retry_delay_s(failures, is_local=True) for failures in range(25)} == {0.2}
    later = [choose_retry_delay_s(1000, is_local=True) for _ in range(TRIES)]
    assert 3.0 < min(later) <= max(later) <= 5.0
