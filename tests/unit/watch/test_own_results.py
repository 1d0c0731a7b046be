import pytest

from mythjobs.watch.file_tracker import FileState, KnownFile
from mythjobs.watch.own_results import Origins, was_written_meanwhile


@pytest.mark.parametrize(
    "path, origin",
    [
        ("/in/film.ts.jpg", "/in/film.ts"),
        ("/in/film.mp4", "/in/film.ts"),
        ("/in/film-small.mp4", "/in/film.ts"),
        ("/in/film.ts.jpg.jpg", "/in/film.ts.jpg"),  # the longest name
        ("/in/films.mp4", None),
        ("/in/other.ts", None),
        ("/in/sub/film.ts.jpg", None),
        ("/in/skipped.ts.jpg", None),  # was there already, so no job of the watch wrote it
        ("/in/film.ts", None),
    ],
)
def test_a_result_beside_its_source_begins_with_its_name(path: str, origin: str | None) -> None:
    jobs = {"/in/film.ts": 1, "/in/skipped.ts": 0}
    if path.endswith(".jpg.jpg"):
        jobs["/in/film.ts.jpg"] = 2
    state = FileState(1, 1, 1)
    known = {file: KnownFile(state, job) for file, job in jobs.items()}
    origins = Origins([*known, path])
    assert origins.find(path, known) == origin


def test_a_file_that_was_forgotten_or_refused_is_no_origin() -> None:
    origins = Origins(["/in/film.ts"])
    assert origins.find("/in/film.mp4", {}) is None


def test_a_file_is_a_result_only_if_it_changed_while_the_job_ran() -> None:
    assert not was_written_meanwhile(9_000, 11_000, 20_000)
    assert was_written_meanwhile(11_000, 11_000, 20_000)
    assert was_written_meanwhile(20_500, 11_000, 20_000)
    assert not was_written_meanwhile(22_000, 11_000, 20_000)
    assert was_written_meanwhile(22_000, 11_000, None)  # it still runs
    assert not was_written_meanwhile(22_000, None, None)  # it never started
