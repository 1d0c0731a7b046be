"""When an agent connects to its master again, and what it logs about that."""

from __future__ import annotations

from mythjobs.agent.connection_history import ConnectionHistory, choose_retry_delay_s

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


def test_an_agent_whose_master_violates_the_protocol_comes_back_ever_later() -> None:
    """Seen: five times a second, for ever, as each connection counted as a success."""
    history = ConnectionHistory()
    delays = []
    for number in range(20):
        history.record_begin(number)
        is_logged = history.record_end(number + 0.1, "nonsense", is_violation=True)
        assert is_logged == (number == 0)
        delays.append(history.take_delay_s(is_local=True))
    assert 0.2 <= delays[0] <= 0.3
    assert min(delays[10:]) > 3.0


def test_a_master_that_closes_each_connection_is_not_connected_to_at_full_speed() -> None:
    history = ConnectionHistory()
    logged = []
    for number in range(40):
        history.record_begin(number)
        logged.append(history.logs_connection)
        assert not history.record_end(number + 0.1, "", is_violation=False)
        assert history.was_last_logged == (number == 2)
        delay_s = history.take_delay_s(is_local=True)
    assert logged == [True] * 3 + [False] * 37
    assert delay_s > 3.0


def test_a_connection_that_lasts_ends_the_back_off() -> None:
    history = ConnectionHistory()
    for number in range(40):
        history.record_begin(number)
        history.record_end(number, "nonsense", is_violation=True)
        history.take_delay_s(is_local=True)
    history.record_begin(100)
    assert not history.logs_connection
    assert history.record_stable()  # so that its begin is logged now
    assert history.logs_connection
    assert not history.record_stable()
    assert not history.record_end(200, "", is_violation=False)
    assert history.take_delay_s(is_local=True) == 0.2
    history.record_begin(201)
    assert history.record_end(202, "nonsense", is_violation=False)
