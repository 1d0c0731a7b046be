from mythjobs.watch.file_tracker import FileState, FileTracker, Rate, is_own_change

OLD, NEW = FileState(10, 1, 7), FileState(20, 2, 7)


def test_a_file_is_due_when_it_did_not_change_for_a_while() -> None:
    tracker = FileTracker(settle_s=10)
    tracker.observe({"/a": OLD}, 0)
    assert tracker.list_due(9) == []
    tracker.observe({"/a": NEW}, 9)
    assert tracker.next_s(9) == 19
    assert tracker.list_due(18) == []
    tracker.observe({"/a": NEW}, 19)
    assert tracker.list_due(19) == ["/a"]
    tracker.accept("/a", 1, 19)
    assert (tracker.list_due(100), tracker.next_s(100)) == ([], None)


def test_a_file_that_is_still_written_is_not_due() -> None:
    tracker = FileTracker(settle_s=10)
    tracker.observe({"/a": OLD}, 0)
    tracker.touch("/a", 10)
    assert tracker.list_due(19) == []
    assert tracker.list_due(20) == ["/a"]


def test_a_handled_file_is_new_only_with_another_state() -> None:
    tracker = FileTracker(settle_s=0)
    tracker.observe({"/a": OLD}, 0)
    tracker.accept("/a", 1, 0)
    tracker.observe({}, 1)
    tracker.observe({"/a": OLD}, 2)
    assert tracker.list_due(2) == []
    tracker.observe({"/a": NEW}, 3)
    assert tracker.list_due(3) == ["/a"]
    tracker.observe({"/a": OLD}, 4)
    assert tracker.list_due(4) == []


def test_a_candidate_that_is_gone_is_forgotten() -> None:
    tracker = FileTracker(settle_s=10)
    tracker.observe({"/a": OLD}, 0)
    tracker.observe({}, 5)
    tracker.observe({"/a": OLD}, 9)
    assert tracker.list_due(11) == []
    assert tracker.list_due(19) == ["/a"]


def test_due_files_are_listed_from_the_oldest_on() -> None:
    tracker = FileTracker(settle_s=1)
    tracker.observe({"/b": OLD}, 0)
    tracker.observe({"/b": OLD, "/a": OLD}, 1)
    assert tracker.list_due(5) == ["/b", "/a"]


def test_no_more_files_than_the_rate_are_due_in_its_period() -> None:
    tracker = FileTracker(settle_s=0, rate=Rate(2, 60))
    tracker.observe({f"/{n}": OLD for n in range(5)}, 0)
    for path in tracker.list_due(0):
        tracker.accept(path, 1, 0)
    assert tracker.list_due(59) == []
    assert tracker.next_s(1) == 60
    assert len(tracker.list_due(60)) == 2


def test_jobs_that_exist_do_not_count_for_the_rate() -> None:
    tracker = FileTracker(settle_s=0, rate=Rate(1, 60))
    tracker.observe({"/a": OLD, "/b": OLD}, 0)
    tracker.accept("/a", 1, 0, counts=False)
    assert tracker.list_due(0) == ["/b"]


def test_submits_are_delayed_while_the_master_is_away() -> None:
    tracker = FileTracker(settle_s=0)
    tracker.observe({"/a": OLD}, 0)
    assert [tracker.defer(0), tracker.defer(1), tracker.defer(3)] == [True, False, False]
    assert tracker.next_s(3) == 7
    assert tracker.list_due(6) == []
    assert tracker.list_due(7) == ["/a"]
    tracker.accept("/a", 1, 7)
    assert tracker.defer(8)


def test_files_that_are_present_are_handled_without_jobs() -> None:
    tracker = FileTracker(settle_s=10)
    tracker.observe({"/a": OLD, "/b": NEW}, 0)
    assert tracker.accept_present() == 2
    assert not tracker.has_candidates()
    assert tracker.known["/a"].job == 0


def test_a_change_up_to_a_second_after_the_end_of_its_job_is_that_jobs() -> None:
    assert is_own_change(1000, None)
    assert is_own_change(1000, 1000)
    assert is_own_change(1900, 1000)
    assert not is_own_change(2100, 1000)
