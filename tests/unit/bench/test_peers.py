"""The table of peers, the choice of rows, and what is said about missing ones."""

import sys
from pathlib import Path

import pytest

import peer_base
import peer_clusters
import peers
import support

NO_PYTHON = Path("/nonexistent/python")


def a_row(**changes: object) -> peers.PeerFigures:
    row = {
        "name": "beanstalkd",
        "setting": "default",
        "version": "1.12",
        "durability": "nothing: memory",
        "jobs": 3000,
        "jobs_per_s": 1234.5,
        "raw_c_per_s": 2469.0,
        "ratio": 0.5,
        "cpu_us_per_job": 250.4,
    }
    return row | changes  # type: ignore[return-value]


def test_each_row_of_the_table_has_its_figures_in_columns() -> None:
    other = a_row(name="mythjobs", setting="", version="0.1.0", jobs_per_s=987.0, ratio=0.4)
    table = peers.build_table(
        {
            "in_flight": 8,
            "peers": [a_row(), other],
            "skipped": {"slurm": "slurmctld not found; install the Debian package slurmctld"},
            "fsync_p50_ms": 0.5,
        }
    )
    title, header, first, second, skipped, fsync = table.splitlines()
    assert "8 in flight" in title
    assert first.split() == [
        *("beanstalkd", "default", "1.12", "1,234", "2,469", "0.500", "250", "µs"),
        *("nothing:", "memory"),
    ]
    assert second.split()[:3] == ["mythjobs", "0.1.0", "987"]
    # Numbers end below their headings, texts begin below them.
    for heading, cell in (("jobs/s", "1,234"), ("ratio", "0.500"), ("CPU per job", "250 µs")):
        assert header.index(heading) + len(heading) == first.index(cell) + len(cell)
    assert header.index("survives") == first.index("nothing")
    assert skipped == (
        "  slurm: skipped: slurmctld not found; install the Debian package slurmctld"
    )
    assert fsync == "  fsync p50 0.50 ms"


def test_a_name_chooses_all_rows_of_a_peer() -> None:
    assert [each.title for each in peers.choose_peers(["beanstalkd"])] == [
        "beanstalkd -b DIR -f0",
        "beanstalkd -b DIR",
        "beanstalkd default",
    ]
    assert peers.choose_peers(None) == list(peers.PEERS)


def test_all_rows_have_different_titles_and_say_what_survives() -> None:
    assert len({each.title for each in peers.PEERS}) == len(peers.PEERS)
    assert all(each.durability for each in peers.PEERS)


def test_without_their_programs_only_mythjobs_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    present, skipped = peers.split_missing(peers.PEERS, NO_PYTHON)
    assert {each.name for each in present} == {"mythjobs"}
    assert skipped["beanstalkd default"] == (
        "beanstalkd not found; install the Debian package beanstalkd"
    )
    assert skipped["task-spooler"] == "tsp not found; install the Debian package task-spooler"
    assert "pip install huey" in skipped["huey SQLite"]
    # A sentence for each row that is left out.
    assert {each.title for each in present} | skipped.keys() == {each.title for each in peers.PEERS}


def test_a_missing_package_is_named_with_the_interpreter_that_needs_it() -> None:
    python = Path(sys.executable)
    missing = peer_base.find_missing_module(python, "no_such_module", "no-such-package")
    assert missing == (
        f"Python package no_such_module not found; run: {python} -m pip install no-such-package"
    )
    assert peer_base.find_missing_module(python, "json", "json") is None


@pytest.mark.parametrize(
    "rate, jobs", [(1000.0, 2000), (600.0, 1200), (10.0, peers.WARM_UP), (599.9, 1200)]
)
def test_a_round_has_as_many_jobs_as_its_time_allows(rate: float, jobs: int) -> None:
    assert peers.choose_jobs(rate, most=2000, seconds=2.0) == jobs


def test_the_configuration_of_slurm_is_filled_in() -> None:
    place = peer_base.Place(Path("/somewhere"), NO_PYTHON, in_flight=8)
    lines = peer_clusters.build_slurm_conf(place, 7001, 7002).splitlines()
    assert "SlurmctldPort=7001" in lines
    assert "SlurmdPort=7002" in lines
    assert "StateSaveLocation=/somewhere/state" in lines
    assert not any("{" in line for line in lines)
    [node] = [line for line in lines if line.startswith("NodeName=")]
    assert "NodeAddr=127.0.0.1 CPUs=8 " in node


def test_free_ports_differ() -> None:
    assert len(set(peer_clusters.find_free_ports(3))) == 3


def test_a_program_that_fails_or_does_not_exist_is_an_error() -> None:
    with pytest.raises(support.BenchError, match="exited with 3"):
        peer_base.read_output([sys.executable, "-c", "raise SystemExit(3)"])
    with pytest.raises(support.BenchError, match="cannot run /nonexistent/python"):
        peer_base.read_output([NO_PYTHON])
