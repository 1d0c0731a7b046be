"""Groups of messages: which may send now, and how long those rest whose service hangs."""

from mythjobs.master.notify.send_groups import SLOW_S, SendGroups


def test_a_group_sends_one_batch_at_a_time() -> None:
    groups = SendGroups()
    groups.begin(1)
    assert groups.list_unavailable(0.0) == [1]
    groups.end(1)
    assert groups.list_unavailable(0.0) == []


def test_a_service_that_hangs_rests_longer_each_time() -> None:
    groups, now_s, rests = SendGroups(), 0.0, []
    for _ in range(7):
        assert groups.record_try(1, failed=True, took_s=45.0, now_s=now_s)
        rest_s = groups.find_rest_s(now_s)
        assert rest_s is not None
        rests.append(rest_s)
        assert groups.list_unavailable(now_s + rest_s - 1) == [1]
        now_s += rest_s
        assert groups.list_unavailable(now_s) == []
    assert rests == [30, 60, 120, 240, 480, 600, 600]


def test_a_service_that_answers_does_not_rest() -> None:
    groups = SendGroups()
    assert not groups.record_try(1, failed=False, took_s=2 * SLOW_S, now_s=0.0)
    assert not groups.record_try(1, failed=True, took_s=0.1, now_s=0.0)  # refused at once
    groups.record_try(1, failed=True, took_s=SLOW_S, now_s=0.0)
    groups.record_try(1, failed=False, took_s=0.1, now_s=30.0)
    groups.record_try(1, failed=True, took_s=SLOW_S, now_s=30.0)
    assert groups.find_rest_s(30.0) == 30.0
