"""Routes for maintenance: invariants, pruning, replay."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from pathlib import Path
from typing import Any

from mythjobs.clock import master_now
from mythjobs.master.output.spool import OutputKey, OutputSpool
from tests.integration.web.served_master import NOTE, ServedMaster, run
from tests.integration.web.test_machines import attach_machine


def test_violated_invariants_of_the_store_are_reported(tmp_path: Path) -> None:
    async def story(master: ServedMaster) -> None:
        await master.api("POST", "/commands", {"definition": NOTE})
        await master.api("POST", "/jobs", {"command": "note"})
        url = "/api/v1/check"
        assert (await master.request("GET", url)).json == {"violations": [], "count": 0}
        # Corrupt the store from outside, as no turn would.
        with sqlite3.connect(master.state_dir.store) as other:
            other.execute("UPDATE job SET ready_class = NULL")
        other.close()
        found = (await master.request("GET", url)).json
        assert found["count"] == len(found["violations"]) == 1
        assert (found["violations"][0]["invariant"], found["violations"][0]["job"]) == ("READY", 1)

    run(tmp_path, story)


def test_long_reads_do_not_delay_other_requests(tmp_path: Path) -> None:
    async def story(master: ServedMaster) -> None:
        # More than there are threads for reads.
        ended = threading.Event()
        reads = [
            asyncio.create_task(master.master.read_long(lambda tx: ended.wait(60)))
            for _ in range(40)
        ]
        try:
            async with asyncio.timeout(20):
                for path in ("/status", "/jobs", "/machines"):
                    assert (await master.api("GET", path)).status == 200
            assert not any(each.done() for each in reads)
        finally:
            ended.set()
        assert await asyncio.gather(*reads) == [True] * 40

    run(tmp_path, story)


def test_old_jobs_are_pruned_with_their_output(tmp_path: Path) -> None:
    async def story(master: ServedMaster) -> None:
        await master.api("POST", "/commands", {"definition": NOTE})
        url = "/api/v1/batches?command=note"
        await master.request("POST", url, b"{}\n" * 2500)
        await master.api("POST", "/jobs", {"command": "note"})
        await master.api("POST", "/jobs/all", {"act": "cancel", "batch": 1})
        before_ms = master_now().wall_ms + 1000

        async def prune(**more: Any) -> int:
            body = {"before_ms": before_ms, **more}
            return int((await master.api("POST", "/jobs/prune", body)).json["jobs"])

        assert await prune(before_ms=1000) == 0
        assert await prune(states=["failed"]) == 0
        counts = await master.api("GET", f"/jobs/count?ended_before_ms={before_ms}")
        assert counts.json["counts"]["cancelled"] == 2500
        assert await prune(states=["cancelled"]) == 2500
        assert [e["id"] for e in (await master.api("GET", "/jobs")).json["jobs"]] == [2501]
        assert (await master.api("GET", "/check")).json["count"] == 0
        wrong = await master.api("POST", "/jobs/prune", {"before_ms": 1, "states": ["x"]})
        assert wrong.status == 400

    run(tmp_path, story)


def test_the_output_of_pruned_attempts_is_deleted(tmp_path: Path) -> None:
    spool = OutputSpool(tmp_path / "spool")
    keys = [OutputKey(7, 1, 1), OutputKey(7, 1, 2), OutputKey(8, 1, 1)]
    for key in keys:
        part = spool.open_partial(key, 3)
        assert part is not None
        part.write(b"abc")
        spool.commit([part])
    spool.remove([(7, 1), (9, 1)])
    assert [spool.path(key).exists() for key in keys] == [False, False, True]


def test_a_deleted_spool_is_created_again(tmp_path: Path) -> None:
    spool = OutputSpool(tmp_path / "spool")
    (tmp_path / "spool").rmdir()
    part = spool.open_partial(OutputKey(7, 1, 1), 3)
    assert part is not None
    part.write(b"abc")
    spool.commit([part])
    assert spool.path(OutputKey(7, 1, 1)).exists()
    assert (tmp_path / "spool").stat().st_mode & 0o777 == 0o700


def test_what_if_validates_the_changed_settings(tmp_path: Path) -> None:
    async def story(master: ServedMaster) -> None:
        await attach_machine(master)
        await master.api("POST", "/commands", {"definition": NOTE})
        url = "/api/v1/what-if"
        tried = {"machines": {"attic": {"jobs": 1}}, "commands": {"note": {"at_most": 1}}}
        found = (await master.request("POST", url, tried | {"semaphores": {"nas": 2}})).json
        assert (found["jobs"], found["commands"], found["changed"]) == (0, [], [])
        assert (await master.request("POST", url, {})).status == 400
        missing = await master.request("POST", url, {"machines": {"none": {}}})
        assert (missing.status, missing.json["code"]) == (404, "no_such_machine")
        wrong = await master.request("POST", url, {"machines": {"attic": {"job": 1}}})
        assert (wrong.status, "machines.attic.job: unknown key" in wrong.json["message"]) == (
            400,
            True,
        )

    run(tmp_path, story)
