"""The reason why a job waits, in lists, on the job's page and in `why`."""

from __future__ import annotations

from pathlib import Path

from tests.integration.web.served_master import NOTE, ServedMaster, run


def test_lists_pages_and_why_show_the_same_reason(tmp_path: Path) -> None:
    async def story(master: ServedMaster) -> None:
        await master.api("POST", "/commands", {"definition": NOTE | {"subject": "{text}"}})
        body = {"command": "note"}
        submits = (
            {"arguments": {"text": "a"}},
            {"arguments": {"text": "a"}},
            {"hold": True},
            {"after": [{"job": 1}]},
            {"not_before_ms": 4_000_000_000_000},
            {
                "deadline_ms": 4_000_000_000_000,
                "machine": "attic",
                "await_machine": True,
                "limits": {"wall": "1h"},
            },
        )
        for more in submits:
            done = await master.api("POST", "/jobs", body | more)
            assert done.status == 201, done.body
        listed = (await master.api("GET", "/jobs")).json["jobs"]
        assert [each["reason"]["code"] for each in reversed(listed)] == [
            "no_machine",
            "subject_taken",
            "held",
            "dependency",
            "not_before",
            "no_such_machine",
        ]
        for each in listed:
            job = (await master.api("GET", f"/jobs/{each['id']}?wait=0")).json
            why = (await master.api("GET", f"/jobs/{each['id']}/why")).json
            assert job["reason"] == each["reason"]
            assert (why["code"], why["sentence"]) == tuple(each["reason"].values())
        last = listed[0]
        assert (last["machine"], last["deadline_ms"]) == ("attic", 4_000_000_000_000)
        assert (last["limits"], last["labels"], last["frozen"]) == ({"wall": "1h"}, [], [])

    run(tmp_path, story)


def test_the_reason_of_an_ended_job_is_what_ended_it(tmp_path: Path) -> None:
    async def story(master: ServedMaster) -> None:
        await master.api("POST", "/commands", {"definition": NOTE})
        await master.api("POST", "/jobs", {"command": "note"})
        await master.api("POST", "/jobs/cancel", {"ids": [1]})
        job = (await master.api("GET", "/jobs/1")).json
        assert job["reason"]["code"] == "cancelled"
        assert job["reason"]["sentence"].startswith("cancelled by ")

    run(tmp_path, story)
