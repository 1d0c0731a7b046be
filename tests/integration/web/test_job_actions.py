"""Actions on all jobs that match a filter, and counts of such jobs."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from mythjobs.clock import master_now
from mythjobs.master.requests import Attach, FrameReceived, HoldJobs
from mythjobs.protocol import messages as m
from mythjobs.web.routes import jobs
from tests.integration.web.served_master import NOTE, ServedMaster, run

ALL = "/api/v1/jobs/all"


async def queue(master: ServedMaster, command: str, jobs: int, more: str = "") -> int:
    """Submit a batch and return its id."""
    definition = NOTE | {"name": command}
    await master.api("POST", "/commands", {"definition": definition, "replace": True})
    url = f"/api/v1/batches?command={command}{more}"
    loaded = await master.request("POST", url, b"{}\n" * jobs)
    assert loaded.status == 201, loaded.body
    return int(loaded.json["batch"])


async def counts(master: ServedMaster, query: str) -> dict[str, int]:
    found = (await master.api("GET", f"/jobs/count?{query}")).json["counts"]
    return {state: count for state, count in found.items() if count}


def test_all_jobs_of_a_command_are_cancelled_in_slices(tmp_path: Path) -> None:
    async def story(master: ServedMaster) -> None:
        await queue(master, "note", 1200)
        await queue(master, "other", 3)
        await master.api("POST", "/jobs/hold", {"ids": [1]})
        assert await counts(master, "command=note") == {"queued": 1200}
        done = await master.request("POST", ALL, {"act": "cancel", "command": "note"})
        assert done.json == {
            "act": "cancel",
            "done": 1200,
            "unchanged": 0,
            "refused": 0,
            "errors": [],
            "new_ids": [],
        }
        assert await counts(master, "command=note") == {"cancelled": 1200}
        assert await counts(master, "") == {"cancelled": 1200, "queued": 3}

    run(tmp_path, story)


def test_jobs_are_counted_and_acted_on_by_batch_and_by_subject(tmp_path: Path) -> None:
    async def story(master: ServedMaster) -> None:
        batch = await queue(master, "note", 4, "&subject=a")
        await queue(master, "note", 2, "&subject=b")
        assert await counts(master, f"batch={batch}") == {"queued": 4}
        assert await counts(master, "subject=b&state=queued") == {"queued": 2}

        async def act(**body: Any) -> int:
            return int((await master.request("POST", ALL, body)).json["done"])

        assert await act(act="hold", batch=batch) == 4
        assert await counts(master, "held=true") == {"queued": 4}
        listed = (await master.api("GET", "/jobs?held=true&limit=3")).json
        assert ([each["id"] for each in listed["jobs"]], listed["next"]) == ([4, 3, 2], 2)
        listed = (await master.api("GET", "/jobs?held=true&limit=3&before=2")).json
        assert ([each["id"] for each in listed["jobs"]], listed["next"]) == ([1], None)
        # Only held jobs can be released.
        assert await act(act="release", states=["queued"]) == 4
        assert await act(act="cancel", subject="b") == 2
        # A rerun does not apply to the jobs that it creates.
        done = (await master.request("POST", ALL, {"act": "rerun", "command": "note"})).json
        assert (done["done"], done["new_ids"]) == (2, [[7, 8]])
        assert await counts(master, "subject=b") == {"cancelled": 2, "queued": 2}
        listed = (await master.api("GET", "/jobs?subject=b&state=queued")).json["jobs"]
        assert [each["rerun_of"] for each in listed] == [6, 5]

    run(tmp_path, story)


def test_jobs_that_ended_since_a_time_are_listed_counted_and_run_again(tmp_path: Path) -> None:
    async def story(master: ServedMaster) -> None:
        await queue(master, "note", 3)
        await master.api("POST", "/jobs/cancel", {"ids": [1, 2]})
        jobs = (await master.api("GET", "/jobs?state=cancelled")).json["jobs"]
        end_ms = jobs[0]["ended_ms"]

        async def listed(since_ms: int) -> list[int]:
            answer = await master.api("GET", f"/jobs?since_ms={since_ms}")
            return [each["id"] for each in answer.json["jobs"]]

        assert (await listed(end_ms), await listed(end_ms + 1)) == ([3, 2, 1], [3])
        assert await counts(master, f"since_ms={end_ms + 1}") == {"queued": 1}
        assert await counts(master, f"since_ms={end_ms}") == {"queued": 1, "cancelled": 2}
        body = {"act": "rerun", "since_ms": end_ms + 1}
        assert (await master.request("POST", ALL, body)).json["done"] == 0
        assert (await master.request("POST", ALL, body | {"since_ms": end_ms})).json["done"] == 2
        refused = await master.request("POST", ALL, {"act": "cancel", "since_ms": end_ms})
        assert refused.status == 400
        assert refused.json["message"] == "since_ms: is for rerun, not for cancel"
        assert (await master.request("GET", "/api/v1/jobs?since_ms=-1")).status == 400

    run(tmp_path, story)


def test_rejected_actions_are_counted_and_reported(tmp_path: Path) -> None:
    async def story(master: ServedMaster) -> None:
        await master.api("POST", "/commands", {"definition": NOTE})
        await master.api("POST", "/jobs", {"command": "note"})
        [acted] = (await master.api("POST", "/jobs/pause", {"ids": [1]})).json["jobs"]
        assert "`mythjobs hold`" in acted["error"]
        nothing = await master.request("POST", ALL, {"act": "pause", "command": "note"})
        assert (nothing.json["done"], nothing.json["refused"]) == (0, 0)
        assert (await master.request("POST", ALL, {"act": "hold", "command": "no"})).status == 404

    run(tmp_path, story)


def test_an_impossible_job_id_does_not_block_the_other_ids(tmp_path: Path) -> None:
    async def story(master: ServedMaster) -> None:
        await queue(master, "note", 2)
        ids = [1, 2**63, 2, 0, 2**70]
        acted = (await master.api("POST", "/jobs/cancel", {"ids": ids})).json["jobs"]
        assert [each["id"] for each in acted] == ids
        assert [each["done"] for each in acted] == ["cancelled", "", "cancelled", "", ""]
        assert acted[1]["error"] == f"there is no job {2**63}"
        [acted] = (await master.api("POST", "/jobs/pause", {"ids": [2**70]})).json["jobs"]
        assert acted["error"] == f"there is no job {2**70}"

    run(tmp_path, story)


def test_batch_options_apply_to_all_its_jobs(tmp_path: Path) -> None:
    async def story(master: ServedMaster) -> None:
        where = "&machine=attic"
        await queue(master, "note", 1)
        url = f"/api/v1/batches?command=note{where}"
        refused = await master.request("POST", url, b"{}\n")
        assert (refused.status, refused.json["code"]) == (404, "no_such_machine")
        more = f"{where}&await_machine=true&label=gpu&label=big"
        more += "&semaphore=nas=2&limit=wall=1h&limit=nice=10"
        await queue(master, "note", 1, more)
        why = (await master.api("GET", "/jobs/2/why")).json
        assert why["code"] == "no_such_machine"
        job = (await master.api("GET", "/jobs/2")).json
        assert job["id"] == 2
        times = "&not_before_ms=4000000000000&deadline_ms=4000000001000"
        await queue(master, "note", 1, times)
        job = (await master.api("GET", "/jobs/3")).json
        assert (job["not_before_ms"], job["deadline_ms"]) == (4_000_000_000_000, 4_000_000_001_000)

    run(tmp_path, story)


class Machine:
    """A machine of the master that loses the jobs it is told to."""

    def __init__(self, master: ServedMaster) -> None:
        self._master = master.master
        self._frames = 0

    async def join(self) -> None:
        can = sorted(m.CAPABILITIES)
        hello = m.Hello(1, "key", "", "", "attic", "boot", "first", 2, can=can)
        await self._master.execute(Attach(hello, trusted=True, connection=7))
        await self.send(m.Heartbeat(1, []))

    async def send(self, message: m.AgentMessage) -> None:
        self._frames += 1
        frame = m.AgentFrame(self._frames, 10**6, 0, [message])
        self._master.post(FrameReceived(7, frame))
        await self._master.execute(HoldJobs([]))

    async def lose(self, job: int, n: int) -> None:
        lost: dict[str, Any] = {"kind": "lost", "why": "the reaper died"}
        now_ms = master_now().wall_ms
        await self.send(m.Ended(job, n, lost, now_ms, now_ms))


def test_jobs_that_were_lost_too_often_are_shown_and_released_together(tmp_path: Path) -> None:
    async def story(master: ServedMaster) -> None:
        machine = Machine(master)
        await machine.join()
        await queue(master, "note", 2)
        held = await queue(master, "other", 1, "&hold=true")
        for n in (1, 2, 3):
            await machine.lose(1, n)
            await machine.lose(2, n)
        for job in (1, 2):
            found = (await master.api("GET", f"/jobs/{job}")).json
            assert (found["hold"], found["losses"]) == (True, 3)
            assert found["reason"]["code"] == "lost_often"
        assert (await master.api("GET", "/status")).json["lost"] == [1, 2]
        assert await counts(master, "held=true") == {"queued": 3}
        assert await counts(master, "lost=true") == {"queued": 2}

        done = await master.request("POST", ALL, {"act": "release", "lost": True})
        assert (done.json["done"], done.json["refused"]) == (2, 0)
        assert (await master.api("GET", "/status")).json["lost"] == []
        assert await counts(master, f"batch={held}") == {"queued": 1}
        # Losses count from 0 again.
        await machine.lose(1, 4)
        found = (await master.api("GET", "/jobs/1")).json
        assert (found["state"], found["losses"], found["attempt"]) == ("leased", 1, 5)

        wrong = await master.request("POST", ALL, {"act": "rerun", "lost": True})
        assert (wrong.status, wrong.json["code"]) == (400, "bad_request")

    run(tmp_path, story)


def test_a_wait_with_held_ends_when_a_job_becomes_held(tmp_path: Path) -> None:
    async def story(master: ServedMaster) -> None:
        batch = await queue(master, "note", 1)
        waits = [
            asyncio.create_task(master.api("GET", f"/{path}"))
            for path in ("jobs/1?wait=60&held=true", f"batches/{batch}?wait=60")
        ]
        unaware = asyncio.create_task(master.api("GET", "/jobs/1?wait=60"))
        while len(master.master._waiters) < 3:  # noqa: ASYNC110 - until the requests have arrived
            await asyncio.sleep(0.01)
        await master.api("POST", "/jobs/hold", {"ids": [1]})
        async with asyncio.timeout(60):
            job, whole = [each.json for each in await asyncio.gather(*waits)]
            # A job that is held already needs no wait.
            again = (await master.api("GET", "/jobs/1?wait=60&held=true")).json
        assert (job["hold"], whole["over"], again["hold"]) == (True, False, True)
        assert not unaware.done()
        await master.api("POST", "/jobs/cancel", {"ids": [1]})
        assert (await unaware).json["state"] == "cancelled"

    run(tmp_path, story)


def test_jobs_run_again_with_changes_by_id_and_by_filter(tmp_path: Path) -> None:
    async def story(master: ServedMaster) -> None:
        await queue(master, "note", 2)
        await master.api("POST", "/jobs/cancel", {"ids": [1, 2]})

        async def act(path: str, **body: Any) -> Any:
            return await master.request("POST", f"/api/v1/jobs/{path}", body)

        changes = {"arguments": {"text": "y"}, "limits": {"wall": "1h"}, "hold": True}
        done = (await act("rerun", ids=[1], changes=changes | {"key": "k"})).json["jobs"]
        assert [each["done"] for each in done] == ["3"]
        job = (await master.api("GET", "/jobs/3")).json
        assert (job["arguments"]["text"], job["limits"], job["key"]) == ("y", {"wall": "1h"}, "k")
        assert (job["reason"]["code"], job["rerun_of"]) == ("held", 1)
        done = (await act("all", act="rerun", command="note", changes=changes)).json
        assert (done["done"], done["refused"], done["new_ids"]) == (2, 0, [[4, 5]])
        changes = {"arguments": {"wrong": "y"}}
        done = (await act("all", act="rerun", command="note", changes=changes)).json
        assert (done["done"], done["refused"]) == (0, 2)
        assert done["errors"][0] == 'job 1: note has no parameter "wrong"; it has text, times'

        refused: list[tuple[str, dict[str, Any]]] = [
            ("rerun", {"ids": [1, 2], "changes": {"key": "k"}}),
            ("rerun", {"ids": [1], "changes": {"priority": 101}}),
            ("rerun", {"ids": [1], "changes": {"not_before_ms": -1}}),
            ("rerun", {"ids": [1], "changes": {"argv": ["x"]}}),
            ("all", {"act": "rerun", "command": "note", "changes": {"key": "k"}}),
            ("all", {"act": "hold", "command": "note", "changes": {"priority": 1}}),
        ]
        for path, body in refused:
            assert (await act(path, **body)).status == 400, body
        unknown = {"after": [{"job": 2**63}]}
        assert (await act("rerun", ids=[1], changes=unknown)).status == 404

    run(tmp_path, story)


def test_jobs_run_again_together_keep_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "SLICE_JOBS", 2)

    async def story(master: ServedMaster) -> None:
        await queue(master, "note", 1)
        for job_id in range(1, 4):
            after = [{"job": job_id, "when": "failure" if job_id == 2 else "ok"}]
            await master.api("POST", "/jobs", {"command": "note", "after": after})
        await master.api("POST", "/jobs/cancel", {"ids": [1]})
        assert await counts(master, "command=note") == {"cancelled": 4}

        async def show_after(*ids: int) -> list[list[tuple[int, str]]]:
            shown = [(await master.api("GET", f"/jobs/{each}")).json["after"] for each in ids]
            return [[(each["job"], each["when"]) for each in after] for after in shown]

        # Ids in any order, an impossible one among them, and more than one slice.
        results = (await master.api("POST", "/jobs/rerun", {"ids": [4, 3, 0, 1, 2]})).json["jobs"]
        assert [(each["id"], each["done"]) for each in results] == [
            (4, "8"), (3, "7"), (0, ""), (1, "5"), (2, "6"),
        ]  # fmt: skip
        assert await show_after(5, 6, 7, 8) == [[], [(5, "ok")], [(6, "failure")], [(7, "ok")]]
        await master.api("POST", "/jobs/cancel", {"ids": [5]})
        body = {"act": "rerun", "command": "note", "states": ["cancelled"]}
        done = (await master.request("POST", ALL, body)).json
        assert done["new_ids"] == [[9, 16]]
        expected = [[], [(13, "ok")], [(14, "failure")], [(15, "ok")]]
        assert await show_after(13, 14, 15, 16) == expected

    run(tmp_path, story)


def test_queued_jobs_change_by_id_and_by_filter(tmp_path: Path) -> None:
    async def story(master: ServedMaster) -> None:
        await queue(master, "note", 3)

        async def act(path: str, **body: Any) -> Any:
            return await master.request("POST", f"/api/v1/jobs/{path}", body)

        changes: dict[str, Any] = {"arguments": {"text": "y"}, "not_before_ms": 4_102_444_800_000}
        done = (await act("set", ids=[1, 9, 2**63], changes=changes)).json["jobs"]
        assert [each["error"] for each in done] == [
            "", "there is no job 9", f"there is no job {2**63}",
        ]  # fmt: skip
        job = (await master.api("GET", "/jobs/1")).json
        assert (job["arguments"]["text"], job["reason"]["code"]) == ("y", "not_before")
        assert [each["kind"] for each in job["events"]] == ["changed"]
        done = (await act("all", act="set", command="note", changes=changes)).json
        assert (done["done"], done["unchanged"], done["refused"]) == (2, 1, 0)
        refused: list[tuple[str, dict[str, Any]]] = [
            ("set", {"ids": [1]}),
            ("set", {"ids": [], "changes": {"priority": 1}}),
            ("set", {"ids": [1], "changes": {"priority": 101}}),
            ("set", {"ids": [1], "changes": {"deadline_ms": -1}}),
            ("set", {"ids": [1], "changes": {"key": "k"}}),
            ("all", {"act": "set", "command": "note"}),
            ("all", {"act": "set", "command": "note", "changes": {"hold": True}}),
            ("all", {"act": "set", "states": ["running"], "changes": {"priority": 1}}),
        ]
        for path, body in refused:
            assert (await act(path, **body)).status == 400, body

    run(tmp_path, story)
