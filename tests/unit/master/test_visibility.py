"""Path maps and files that a machine cannot read: grants, placement, and what `why` says."""

from __future__ import annotations

from typing import Any

from mythjobs.master import requests
from mythjobs.protocol import messages as m
from mythjobs.protocol.requests import Submit
from mythjobs.protocol.run_spec import RunSpec
from mythjobs.scheduler.placement_walk import MAX_SKIPPED
from tests.unit.master.harness import Harness

PARAMETERS = [
    {"name": "source", "type": "path", "exists": True},
    {"name": "note", "default": "/srv/tv"},
]
TV = "/srv/tv/a.ts"


def define(master: Harness, **table: Any) -> None:
    argv = ["/bin/cat", "{source}", "{note}"]
    master.define(argv=argv, parameters=PARAMETERS, subject="{source}", **table)


def submit(master: Harness, path: str = TV) -> int:
    return master.submit(arguments={"source": path}).id


def take_run(master: Harness, job: int) -> RunSpec:
    """Take the one grant of attic, which is for this job."""
    [granted] = master.received(m.Grant)
    assert granted.job == job
    master.attempts["attic"][job, granted.n] = "leased"
    return granted.run


def return_hidden(master: Harness, connection: int, path: str) -> list[int]:
    """Take all grants of a machine and return them, because it cannot read a path."""
    name = master._names[connection]
    jobs = master.take_grants(name)
    for key in list(master.attempts[name]):
        del master.attempts[name][key]
        returned = m.Returned(*key, f"{path} is not visible here", m.NOT_VISIBLE, path)
        master.send_frame(connection, returned)
    return jobs


def map_paths(master: Harness, name: str = "attic", **paths: str) -> None:
    settings: dict[str, object] = {
        "allow": "all",
        "paths": {f"/{key}": path for key, path in paths.items()},
    }
    master.request(requests.EditMachine(name, settings))


def test_only_arguments_of_type_path_are_translated(master: Harness) -> None:
    master.join()
    define(master)
    map_paths(master, srv="/mnt/nas")
    job = submit(master)
    run = take_run(master, job)
    assert run.argv == ["/bin/cat", "/mnt/nas/tv/a.ts", "/srv/tv"]
    assert run.env["MYTHJOBS_P_SOURCE"] == "/mnt/nas/tv/a.ts"
    assert run.inputs == ["/mnt/nas/tv/a.ts"]
    assert master.shown_job(job)["subject"] == TV


def test_a_job_goes_to_the_machine_that_can_read_its_file(master: Harness) -> None:
    attic = master.join("attic")
    define(master)
    job = submit(master)
    assert return_hidden(master, attic, "/srv/tv") == [job]
    why = master.explain(job)
    assert why["code"] == "not_visible"
    assert f"attic cannot read {TV}" in why["sentence"]
    assert master.rules(job)["attic"]["visible"] == f"cannot read {TV}"
    # Neither this job nor another one about a file there is tried on attic meanwhile; others are.
    second, elsewhere = submit(master, "/srv/tv/b.ts"), submit(master, "/srv/film")
    assert master.take_grants() == [elsewhere]
    cellar = master.join("cellar")
    master.advance(61)
    assert {*master.take_grants("cellar"), *master.take_grants()} == {job, second}
    assert cellar


def test_a_job_without_a_machine_is_tried_again_ever_more_rarely(master: Harness) -> None:
    attic = master.join("attic")
    define(master)
    job = submit(master)
    assert return_hidden(master, attic, "/srv/tv") == [job]
    for wait_s in (60, 120, 240):
        master.advance(wait_s - 1)
        assert master.take_grants() == []
        master.advance(1)
        assert return_hidden(master, attic, "/srv/tv") == [job]
    assert master.state(job) == "queued"
    assert master.shown_job(job)["failures"] == 0


def test_a_change_of_the_paths_tries_at_once(master: Harness) -> None:
    attic = master.join("attic")
    define(master)
    job = submit(master)
    return_hidden(master, attic, "/srv/tv")
    map_paths(master, srv="/mnt/nas")
    master.advance(0)
    assert take_run(master, job).inputs == ["/mnt/nas/tv/a.ts"]
    # The machine says that the mapped path is not there, either: the file has the user's name.
    del master.attempts["attic"][job, 2]
    gone = m.Returned(job, 2, "not visible", m.NOT_VISIBLE, "/mnt/nas")
    master.send_frame(attic, gone)
    assert f"attic cannot read {TV}" in master.explain(job)["sentence"]


def test_more_hidden_jobs_than_one_walk_skips_do_not_hide_a_visible_one(master: Harness) -> None:
    attic = master.join("attic")
    define(master)
    first = submit(master)
    return_hidden(master, attic, "/srv/tv")
    paths = [*(f"/srv/tv/{number}" for number in range(2 * MAX_SKIPPED + 1)), "/home/a"]
    asked = [
        requests.SubmitJob(Submit("flag", arguments={"source": each}), "anna") for each in paths
    ]
    answers = master.turn(*asked)
    for _ in range(3):
        master.advance(0)
    assert master.take_grants() == [answers[len(paths) - 1].id]
    assert master.explain(answers[len(paths) - 2].id)["code"] == "not_visible"
    assert master.explain(first)["code"] == "not_visible"


def test_a_job_waits_for_a_full_machine_that_can_read_its_file(master: Harness) -> None:
    attic, cellar = master.join("attic", cores=1), master.join("cellar", cores=1)
    define(master)
    master.define("long")
    long = master.submit("long", machine="cellar").id
    assert master.take_grants("cellar") == [long]
    job = submit(master)
    assert return_hidden(master, attic, "/srv/tv") == [job]
    other = submit(master, "/home/x")
    assert master.take_grants("attic") == [other]
    assert master.explain(job)["code"] == "no_room"
    master.finish(cellar, long)
    assert master.take_grants("cellar") == [job]
