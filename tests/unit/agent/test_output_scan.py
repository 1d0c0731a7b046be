"""Output scanner: `retry.later` in failed jobs' output, and progress."""

import gc
import re
import signal
import threading
import time
from base64 import b64encode
from pathlib import Path

import pytest

from mythjobs.agent.core.attempt import AgentAttempt, Phase
from mythjobs.agent.core.lease_terms import LeaseTerms
from mythjobs.agent.output_scan import (
    OutputScanner,
    SearchTimeout,
    find_later_match,
    limit_search,
)
from mythjobs.process.reaper.output_file import OutputFile


def ended(output: list[list[int]], code: int = 1) -> dict[str, object]:
    return {"job": 1, "n": 1, "outcome": {"kind": "exited", "code": code}, "output": output}


def test_last_matching_line_is_returned(tmp_path: Path) -> None:
    text = b"NAS offline (1)\nretrying\nNAS offline (2)\nbye\n"
    (tmp_path / "1.1.1").write_bytes(text)
    size = len(text)
    assert (
        find_later_match(tmp_path, ended([[size, size, 0]]), r"NAS offline.*") == "NAS offline (2)"
    )
    assert find_later_match(tmp_path, ended([[size, size, 0]]), r"disk full") == ""


def test_small_output_is_searched_in_the_end(tmp_path: Path) -> None:
    data = [b64encode(each).decode() for each in (b"one\ntuner busy (3)\n", b"\xff other")]
    end = ended([[19, 19, 0], [7, 7, 0]]) | {"data": data}
    assert find_later_match(tmp_path, end, "tuner .*") == "tuner busy (3)"
    assert find_later_match(tmp_path, end, "disk full") == ""


def test_success_and_empty_output_are_not_searched(tmp_path: Path) -> None:
    assert find_later_match(tmp_path, ended([[5, 5, 0]], code=0), "x") == ""
    assert find_later_match(tmp_path, ended([]), "x") == ""


def test_match_in_kept_tail_and_on_stderr(tmp_path: Path) -> None:
    spool = OutputFile(str(tmp_path / "1.1.2"), 10, 64)
    spool.write(memoryview(b"x" * 1000 + b"\ntuner busy\n"))
    spool.close()
    output = [[0, 0, 0], [spool.window.written, spool.window.head, spool.window.tail]]
    assert find_later_match(tmp_path, ended(output), "tuner .*") == "tuner busy"


def test_invalid_expression_matches_nothing(tmp_path: Path) -> None:
    (tmp_path / "1.1.1").write_bytes(b"(\n")
    assert find_later_match(tmp_path, ended([[2, 2, 0]]), "(") == ""


def test_slow_expression_times_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    text = b"\n".join([b"busy", *[b"a" * 60] * 100])
    (tmp_path / "1.1.1").write_bytes(text)
    before = signal.getsignal(signal.SIGVTALRM)
    began_s = time.thread_time()
    assert find_later_match(tmp_path, ended([[len(text), len(text), 0]]), "(a+)+b") == ""
    assert time.thread_time() - began_s < 10  # without the limit: over 10 ** 10 s
    assert "took too long" in caplog.text
    assert signal.getitimer(signal.ITIMER_VIRTUAL) == (0.0, 0.0)
    assert signal.getsignal(signal.SIGVTALRM) == before
    assert find_later_match(tmp_path, ended([[len(text), len(text), 0]]), "b+usy") == "busy"


@pytest.mark.slow
def test_work_of_other_threads_does_not_count_as_search() -> None:
    # Seen: while the agent hashed a job's inputs, the progress of another job was given up.
    used_s: list[float] = []

    def work() -> None:
        while time.thread_time() < 0.4:
            sum(range(1000))
        used_s.append(time.thread_time())

    thread = threading.Thread(target=work)
    with limit_search():
        thread.start()
        thread.join()
    assert used_s[0] > 0.3
    # The limit still holds afterwards, for the searching thread itself.
    with pytest.raises(SearchTimeout), limit_search():
        re.search("(a+)+b", "a" * 60)


def test_garbage_collection_does_not_count_as_search() -> None:
    # Seen: a collection in a process with a large heap took longer than a search may take.
    phases: list[str] = []

    def record(phase: str, _: object) -> None:
        phases.append(phase)

    assert gc.isenabled()
    gc.callbacks.append(record)
    try:
        with limit_search():
            assert len([[] for _ in range(20 * gc.get_threshold()[0])]) > 0
    finally:
        gc.callbacks.remove(record)
    assert phases == []
    assert gc.isenabled()


def test_slow_progress_expression_is_ignored_after_timeout(tmp_path: Path) -> None:
    attempt = AgentAttempt((1, 1), Phase.RUNNING)
    attempt.terms = LeaseTerms(progress=r"regex:^(?:\w+\s?)*: (\d+)%$")
    followers = OutputScanner(tmp_path)
    text = b""
    for line, percent in ((b"done: 20%\n", 20.0), (b"a" * 60 + b"\n", None), (b"x: 30%\n", None)):
        text += line
        (tmp_path / "1.1.1").write_bytes(text)
        attempt.output = [(len(text), len(text), 0)]
        found = followers.scan_progress(attempt)
        assert (found and found.percent) == percent


def test_streams_complement_each_other(tmp_path: Path) -> None:
    # ffmpeg -nostats -progress pipe:1: the duration is on stderr, the time on stdout.
    attempt = AgentAttempt((1, 1), Phase.RUNNING)
    attempt.terms = LeaseTerms(progress="ffmpeg")
    scanner = OutputScanner(tmp_path)
    duration, position = b"  Duration: 00:00:10.00, start: 0\n", b"out_time=00:00:04.500000\n"
    (tmp_path / "1.1.2").write_bytes(duration)
    attempt.output = [(0, 0, 0), (len(duration), len(duration), 0)]
    assert scanner.scan_progress(attempt) is None
    (tmp_path / "1.1.1").write_bytes(position)
    attempt.output[0] = (len(position), len(position), 0)
    found = scanner.scan_progress(attempt)
    assert (found and found.percent) == 45.0


def test_unreadable_output_matches_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "1.1.1").symlink_to(tmp_path / "1.1.1")
    assert find_later_match(tmp_path, ended([[5, 5, 0]]), "x") == ""
    assert "cannot read its output" in caplog.text
