"""Figures, bars and choice of kinds of the throughput benchmark, without a run."""

import job_kinds
import throughput


def figures_at(in_flight: int | None, **kinds: throughput.KindFigures) -> throughput.Figures:
    plain = kinds["plain"]
    return {
        "in_flight": in_flight,
        "jobs_per_s": plain["jobs_per_s"],
        "raw_c_per_s": plain["raw_c_per_s"],
        "ratio": plain["ratio"],
        "contained_ratio": None,
        "contained_reason": None,
        "store_jobs_per_s": None,
        "store_ratio": None,
        "fsync_p50_ms": 1.0,
        "cpu_us_per_job": plain["cpu_us_per_job"],
        "cpu_us_total": plain["cpu_us_total"],
        "kinds": kinds,
        "rejected": {},
    }


def a_kind(rate: float, cpu_us: float) -> throughput.KindFigures:
    return throughput.summarize([rate], [1000.0], [{"master": cpu_us / 2, "agent": cpu_us / 2}])


def names(kinds: list[job_kinds.JobKind]) -> list[str]:
    return [kind.name for kind in kinds]


def test_all_kinds_are_measured_at_8_in_flight_only() -> None:
    assert names(throughput.choose_kinds(None, None, 8)) == names(list(job_kinds.KINDS))
    assert names(throughput.choose_kinds(None, None, 2)) == ["plain", "contained"]


def test_a_run_that_names_the_number_in_flight_has_plain_and_contained_jobs() -> None:
    assert names(throughput.choose_kinds(None, [8], 8)) == ["plain", "contained"]


def test_plain_jobs_are_measured_with_every_choice_of_kinds() -> None:
    assert names(throughput.choose_kinds(["output"], None, 8)) == ["plain", "output"]


def test_figures_are_medians_of_the_rounds() -> None:
    found = throughput.summarize(
        [600.0, 100.0, 700.0],
        [1000.0, 900.0, 2000.0],
        [
            {"master": 10.0, "agent": 30.0},
            {"master": 20.0, "agent": 1.0},
            {"master": 90.0, "agent": 2.0},
        ],
    )
    assert found["jobs_per_s"] == 600
    assert found["raw_c_per_s"] == 1000
    assert found["ratio"] == 0.6
    assert found["cpu_us_per_job"] == {"master": 20, "agent": 2}
    # The median of the sums (40, 21, 92), not the sum of the medians.
    assert found["cpu_us_total"] == 40


def test_bars_apply_at_8_in_flight() -> None:
    kinds = {"plain": a_kind(650.0, 421.0), "contained": a_kind(540.0, 900.0)}
    _, lines = throughput.rows([figures_at(8, **kinds)])
    assert [row.is_met for row in lines] == [True, False, False, None, None]
    _, lines = throughput.rows([figures_at(32, **kinds)])
    assert {row.is_met for row in lines} == {None}


def test_automatic_scaling_has_a_row_without_bars() -> None:
    assert [throughput.read_in_flight(each) for each in ("8", "auto")] == [8, None]
    assert names(throughput.choose_kinds(None, None, None)) == ["plain", "contained"]
    _, lines = throughput.rows([figures_at(None, plain=a_kind(650.0, 421.0))])
    assert lines[0].figure == "automatic scaling"
    assert {row.is_met for row in lines} == {None}


def test_the_title_says_once_why_a_kind_was_rejected() -> None:
    result = figures_at(8, plain=a_kind(650.0, 400.0)) | {"rejected": {"contained": "no cgroups"}}
    title, _ = throughput.rows([result, result])
    assert title.count("contained: no cgroups") == 1


def test_two_jobs_in_a_row_have_one_subject() -> None:
    [kind] = [each for each in job_kinds.KINDS if each.name == "subjects"]
    assert [each["file"] for each in kind.build_arguments(5)] == ["f0", "f0", "f1", "f1", "f2"]
    assert job_kinds.PLAIN.build_arguments(2) == [{}, {}]
