"""Metrics of a master core on a real store."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from mythjobs.master import requests
from mythjobs.master.metrics import exposition
from mythjobs.master.metrics.counters import Histogram, MetricsCounters
from mythjobs.master.metrics.observation import TurnCost
from mythjobs.protocol import codec
from mythjobs.protocol import messages as m
from mythjobs.protocol.scaling import DiskLoad, Headroom, LoadReport
from mythjobs.store.queries.metrics import read_store_figures
from tests.unit.master.harness import NOON, Harness

ROOT = Path(__file__).parents[4]
DASHBOARD = ROOT / "examples/grafana/mythjobs.json"


class Measured:
    """A harness whose turns' observations are counted, as the service does."""

    def __init__(self, master: Harness) -> None:
        self.master = master
        self.counters = MetricsCounters()
        master.core.measure()
        run_turn = master.core.run_turn

        def measured(*arguments: object, **options: object) -> object:
            result = run_turn(*arguments, **options)  # type: ignore[arg-type]
            assert result.observations is not None
            self.counters.add(result.observations)
            return result

        master.core.run_turn = measured  # type: ignore[assignment,method-assign]

    def write(self) -> bytes:
        with self.master.store.snapshot() as tx:
            figures = read_store_figures(tx)
        return exposition.write_metrics(
            self.master.core.state,
            figures,
            self.counters,
            started_ms=NOON,
            now=self.master.now,
        )

    def read(self) -> dict[tuple[str, tuple[str, ...]], float]:
        """Return each sample by its name and the values of its labels, in the order of names."""
        return {
            (sample.name, tuple(sample.labels[key] for key in sorted(sample.labels))): sample.value
            for family in text_string_to_metric_families(self.write().decode())
            for sample in family.samples
        }


def test_jobs_waits_and_runs_are_counted_by_command(master: Harness) -> None:
    master.define()
    measured = Measured(master)
    ids = master.queue(3)
    master.advance(30)
    connection = master.join(cores=2)
    assert master.take_grants() == ids[:2]
    master.send_frame(connection, m.Started(ids[0], 1, master.now.wall_ms))
    master.advance(100)
    master.finish(connection, ids[0], seconds=100)
    master.finish(connection, ids[1], seconds=2, code=1)
    found = measured.read()
    assert found["mythjobs_jobs", ("flag", "succeeded")] == 1
    assert found["mythjobs_jobs", ("flag", "failed")] == 1
    assert found["mythjobs_jobs", ("flag", "leased")] == 1
    assert found["mythjobs_job_wait_seconds_count", ("flag",)] == 3
    assert found["mythjobs_job_wait_seconds_sum", ("flag",)] == 30 + 30 + 130
    assert found["mythjobs_job_wait_seconds_bucket", ("flag", "15")] == 0
    assert found["mythjobs_job_wait_seconds_bucket", ("flag", "60")] == 2
    assert found["mythjobs_attempt_run_seconds_count", ("flag",)] == 2
    assert found["mythjobs_attempts_ended_total", ("flag", "exited", "succeeded")] == 1
    assert found["mythjobs_attempts_ended_total", ("flag", "exited", "failed")] == 1
    assert found["mythjobs_unread_notifications", ()] == 1
    assert found["mythjobs_store_bytes", ()] > 4096


def test_the_age_of_the_oldest_queued_job(master: Harness) -> None:
    master.define()
    measured = Measured(master)
    assert ("mythjobs_oldest_queued_seconds", ("flag",)) not in measured.read()
    master.submit()
    with master.store.transaction() as tx:
        tx.cursor.execute("SELECT submitted_ms FROM job")
        [(submitted_ms,)] = tx.cursor.fetchall()
    master.advance(90)
    age_s = (master.now.wall_ms - submitted_ms) / 1000
    assert measured.read()["mythjobs_oldest_queued_seconds", ("flag",)] == age_s == 90


def test_machines_have_slots_load_and_headroom(master: Harness) -> None:
    measured = Measured(master)
    connection = master.join(cores=4)
    machine = master.core.state.machines[1]
    machine.load = LoadReport(4, 1.5, 0.5, 8 << 30, 4 << 30, {"sda": DiskLoad(0.25, 0.0)})
    machine.headroom = Headroom({}, 3, {})
    found = measured.read()
    assert found["mythjobs_machine_up", ("attic",)] == 1
    assert found["mythjobs_machine_slots", ("attic",)] == 4
    assert found["mythjobs_machine_cpu_cores", ("attic",)] == 1.5
    assert found["mythjobs_machine_available_bytes", ("attic",)] == 4 << 30
    assert found["mythjobs_machine_disk_busy", ("sda", "attic")] == 0.25
    assert found["mythjobs_machine_headroom_jobs", ("attic",)] == 3
    master.disconnect(connection)
    assert measured.read()["mythjobs_machine_up", ("attic",)] == 0


def test_the_number_of_time_series_is_bounded(
    master: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exposition, "MAX_COMMANDS", 5)
    for number in range(exposition.MAX_COMMANDS + 10):
        master.define(f"c{number}")
    measured = Measured(master)
    connection = master.join(cores=1000)
    ids = [master.submit(f"c{n}").id for n in range(exposition.MAX_COMMANDS + 10)]
    master.take_grants()
    master.finish(connection, *ids)
    found = measured.read()
    names = {labels[0] for name, labels in found if name == "mythjobs_jobs"}
    assert len(names) == exposition.MAX_COMMANDS + 1
    # The built-in command `run` is the first.
    assert found["mythjobs_jobs", (exposition.OTHER, "succeeded")] == 11
    assert found["mythjobs_job_wait_seconds_count", (exposition.OTHER,)] == 11


def test_before_the_first_scrape_turns_observe_nothing(master: Harness) -> None:
    master.define()
    with master.store.transaction() as tx:
        assert master.core.run_turn(tx, [], master.now).observations is None


def test_a_histogram_counts_up_to_its_bounds() -> None:
    histogram = Histogram((1, 5))
    for value in (0.5, 1, 3, 7):
        histogram.add(value)
    assert histogram.list_buckets() == [("1", 2), ("5", 3), ("+Inf", 4)]
    counters = MetricsCounters()
    copy = counters.copy()
    counters.add([TurnCost(0.002, 12)])
    assert (counters.turns.total, copy.turns.total) == (0.002, 0)


def families(text: bytes) -> Mapping[str, str]:
    return {each.name: each.type for each in text_string_to_metric_families(text.decode())}


def test_the_document_lists_every_metric(master: Harness) -> None:
    found = families(Measured(master).write())
    text = (ROOT / "docs/metrics.md").read_text(encoding="utf-8")
    listed = dict(re.findall(r"^\| `(mythjobs_\w+)`[^|]*\| (\w+) \|", text, re.MULTILINE))
    assert {name.removesuffix("_total"): kind for name, kind in listed.items()} == found


def test_the_dashboard_uses_only_metrics_that_exist(master: Harness) -> None:
    found = families(Measured(master).write())
    known = set(found)
    for name, kind in found.items():
        if kind == "histogram":
            known |= {f"{name}_{part}" for part in ("bucket", "sum", "count")}
        if kind == "counter":
            known = known - {name} | {f"{name}_total"}
    used = set(re.findall(r"mythjobs_\w+", DASHBOARD.read_text(encoding="utf-8")))
    assert len(used) > 15
    assert used <= known


def test_reports_of_a_hostile_machine_are_bounded(master: Harness) -> None:
    measured = Measured(master)
    connection = master.join()
    huge, names = 10**400, [f"{number}" * 30 for number in range(1000, 3000)]
    load = LoadReport(
        huge, 1e308, -1.0, -huge, huge, {name: DiskLoad(1e308, 0.0) for name in names},
        pressure=dict.fromkeys(names, (1e308, 0.0)),
    )  # fmt: skip
    headroom = Headroom(dict.fromkeys(names, huge), huge, dict.fromkeys(names, "x" * 1000))
    master._frames[connection] += 1
    frame = m.AgentFrame(master._frames[connection], 0, 4, [], headroom=headroom, load=load)
    data = codec.encode(frame)
    master.turn(requests.FrameReceived(connection, codec.decode_agent_frame(data)))
    machine = master.core.state.machine_on_connection(connection)
    assert machine is not None
    assert machine.load is not None
    assert machine.headroom is not None
    assert len(machine.load.disks) == 100
    assert max(map(len, machine.headroom.reasons.values())) == 500
    found = measured.read()
    assert found["mythjobs_machine_cores", ("attic",)] == 2**53
    assert found["mythjobs_machine_available_bytes", ("attic",)] == 2**53
    assert found["mythjobs_machine_foreign_cpu_cores", ("attic",)] == 0
    assert len(measured.write()) < 50_000
