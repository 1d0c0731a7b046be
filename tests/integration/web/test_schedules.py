"""Routes for schedules, with a real master."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from mythjobs.clock import master_now
from tests.integration.web.served_master import NOTE, ServedMaster, run
from tests.integration.web.test_machines import attach_machine

SCHEDULES = "/api/v1/schedules"
NIGHT = f"{SCHEDULES}/night"


def _definition(**table: Any) -> dict[str, Any]:
    return {"name": "night", "command": "note", "cron": "30 2 * * *", "zone": "Europe/Berlin"} | (
        table
    )


def test_a_schedule_is_added_shown_and_removed(tmp_path: Path) -> None:
    async def story(master: ServedMaster) -> None:
        await master.api("POST", "/commands", {"definition": NOTE})
        tried = await master.request(
            "POST", SCHEDULES, {"definition": _definition(), "dry_run": True}
        )
        assert (tried.status, tried.json["changed"]) == (201, True)
        assert (await master.request("GET", SCHEDULES)).json["schedules"] == []

        added = await master.request("POST", SCHEDULES, {"definition": _definition()})
        assert added.status == 201
        assert added.json["next"] == tried.json["next"]
        assert len(added.json["next"]) == 5
        assert all(" 02:30 CE" in each["local"] for each in added.json["next"])
        again = await master.request("POST", SCHEDULES, {"definition": _definition()})
        assert (again.status, again.json["code"]) == (409, "conflict")
        same = {"definition": _definition(), "replace": True}
        assert not (await master.request("POST", SCHEDULES, same)).json["changed"]

        [listed] = (await master.request("GET", SCHEDULES)).json["schedules"]
        shown = (await master.request("GET", f"{NIGHT}?next=2&ticks=0")).json
        assert shown == shown | listed
        assert shown["definition"] == _definition()
        assert [each["at_ms"] for each in shown["next"]] == [
            each["at_ms"] for each in added.json["next"][:2]
        ]
        assert (shown["zone"], shown["is_own_zone"]) == ("Europe/Berlin", True)

        assert (await master.request("DELETE", NIGHT)).json == {"name": "night"}
        gone = await master.request("GET", NIGHT)
        assert (gone.status, gone.json["code"]) == (404, "no_such_schedule")

    run(tmp_path, story)


def test_a_wrong_definition_is_refused_with_its_key(tmp_path: Path) -> None:
    async def story(master: ServedMaster) -> None:
        await master.api("POST", "/commands", {"definition": NOTE})
        for table, status, code, text in (
            ({"cron": "61 * * * *"}, 400, "bad_definition", "cron: "),
            ({"dst": "never"}, 400, "bad_definition", "dst: "),
            ({"command": "backup"}, 404, "no_such_command", "backup"),
            ({"arguments": {"times": "many"}}, 400, "bad_request", "times"),
            ({"where": "attic"}, 404, "no_such_machine", "attic"),
        ):
            answer = await master.request("POST", SCHEDULES, {"definition": _definition(**table)})
            assert (answer.status, answer.json["code"]) == (status, code)
            assert text in answer.json["message"]
        for path in (f"{NIGHT}/run", f"{NIGHT}/paused", f"{NIGHT}/backfill"):
            body = {"on": True} if path.endswith("paused") else {"from_ms": 0, "to_ms": 1}
            answer = await master.request("POST", path, {} if path.endswith("run") else body)
            assert answer.status == 404

    run(tmp_path, story)


def test_a_schedule_is_run_paused_and_backfilled(tmp_path: Path) -> None:
    async def story(master: ServedMaster) -> None:
        await attach_machine(master)
        await master.api("POST", "/commands", {"definition": NOTE})
        body = {"definition": _definition(), "paused": True, "reason": "cron runs it"}
        await master.request("POST", SCHEDULES, body)
        shown = (await master.request("GET", NIGHT)).json
        assert (shown["paused"], shown["pause_reason"]) == (True, "cron runs it")
        assert (shown["next_ms"], shown["next"]) == (None, [])

        done = (await master.request("POST", f"{NIGHT}/run")).json
        assert done == {"name": "night", "jobs": [1]}
        assert (await master.request("POST", f"{NIGHT}/run")).status == 409
        [tick] = (await master.request("GET", NIGHT)).json["ticks"]
        assert (tick["job"], tick["ticks"], tick["outcome"]) == (1, 0, "submitted")

        until_ms = master_now().wall_ms + 90_000_000
        pause = {"on": True, "until_ms": until_ms}
        assert (await master.request("POST", f"{NIGHT}/paused", pause)).json["paused"]
        shown = (await master.request("GET", NIGHT)).json
        assert until_ms <= shown["next_ms"] == shown["next"][0]["at_ms"]
        past = {"on": True, "until_ms": 1}
        assert (await master.request("POST", f"{NIGHT}/paused", past)).status == 400
        assert not (await master.request("POST", f"{NIGHT}/paused", {"on": False})).json["paused"]

        now_ms = master_now().wall_ms
        span = {"from_ms": now_ms - 3 * 86_400_000, "to_ms": now_ms}
        plan = (await master.request("POST", f"{NIGHT}/backfill", span)).json["ticks"]
        assert [each["outcome"] for each in plan] == ["to submit"] * 3
        backfill = span | {"dry_run": False}
        ticks = (await master.request("POST", f"{NIGHT}/backfill", backfill)).json["ticks"]
        assert [each["job"] for each in ticks] == [2, 3, 4]
        for wrong in (
            {"from_ms": now_ms, "to_ms": now_ms + 10**9},
            {"from_ms": 0, "to_ms": now_ms},
        ):
            assert (await master.request("POST", f"{NIGHT}/backfill", wrong)).status == 400

    run(tmp_path, story)


def test_the_masters_thread_runs_a_schedule(tmp_path: Path) -> None:
    async def story(master: ServedMaster) -> None:
        await attach_machine(master)
        await master.api("POST", "/commands", {"definition": NOTE})
        definition = {"name": "night", "command": "note", "every": "1s"}
        await master.request("POST", SCHEDULES, {"definition": definition})
        async with asyncio.timeout(60):
            while not (ticks := (await master.request("GET", NIGHT)).json["ticks"]):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert (ticks[-1]["job"], ticks[-1]["at_ms"] % 1000) == (1, 0)

    run(tmp_path, story)
