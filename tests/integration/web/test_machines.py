"""Routes for machines and semaphores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mythjobs.clock import master_now
from mythjobs.master import requests
from mythjobs.protocol.messages import CAPABILITIES, Hello
from tests.integration.web.served_master import NOTE, ServedMaster, run

ATTIC = "/api/v1/machines/attic"


async def attach_machine(served: ServedMaster, name: str = "attic") -> None:
    """Attach a machine that then sends nothing."""
    hello = Hello(
        1, f"key of {name}", "", "", name, "boot", "one", 4, zone="UTC", can=sorted(CAPABILITIES)
    )
    await served.master.execute(requests.Attach(hello, True, 1))


async def detach_machine(served: ServedMaster) -> None:
    served.master.post(requests.Detached(1))
    await served.master.execute(
        requests.HoldJobs([1])
    )  # the answer of a later turn: the machine is detached by then


def test_the_settings_of_a_machine_are_replaced_and_shown(tmp_path: Path) -> None:
    async def story(master: ServedMaster) -> None:
        await attach_machine(master)
        await master.api("POST", "/commands", {"definition": NOTE})
        settings: dict[str, Any] = {
            "jobs": 2,
            "zone": "Europe/Berlin",
            "labels": ["gpu"],
            "allow": ["note"],
            "windows": {"open": ["22:00-06:00"], "closing": "freeze"},
            "commands": {"note": {"jobs": 1}},
        }
        edited = await master.request("POST", f"{ATTIC}/settings", {"settings": settings})
        assert edited.status == 200, edited.body
        shown = (await master.request("GET", ATTIC)).json
        assert shown == edited.json | {"last_heard_ms": shown["last_heard_ms"]}
        assert shown["settings"] == settings
        assert (shown["jobs"], shown["zone"]) == (2, "Europe/Berlin")

        # Other settings keep their values.
        changed = (await master.request("POST", ATTIC, {"jobs": 3, "zone": "UTC"})).json
        assert changed["settings"] == settings | {"jobs": 3, "zone": "UTC"}
        wrong = await master.request("POST", f"{ATTIC}/settings", {"settings": {"window": {}}})
        assert (wrong.status, wrong.json["code"]) == (400, "bad_definition")
        assert "window: unknown key" in wrong.json["message"]

    run(tmp_path, story)


def test_windows_are_overridden_until_a_given_time(tmp_path: Path) -> None:
    async def story(master: ServedMaster) -> None:
        await attach_machine(master)
        await master.api("POST", "/commands", {"definition": NOTE})
        until_ms = master_now().wall_ms + 3_600_000
        body = {"kind": "pause", "until_ms": until_ms, "command": "note"}
        await master.request("POST", f"{ATTIC}/hours", {"kind": "allow", "until_ms": until_ms})
        shown = (await master.request("POST", f"{ATTIC}/hours", body)).json
        assert shown["overrides"] == [
            {"command": None, "kind": "allow", "until_ms": until_ms},
            {"command": "note", "kind": "pause", "until_ms": until_ms},
        ]
        removed = await master.request(
            "POST", f"{ATTIC}/hours", {"kind": "hours", "command": "note"}
        )
        assert [each["command"] for each in removed.json["overrides"]] == [None]
        for odd_ms in (1, -1, 2**53, 2**70):
            odd = await master.request(
                "POST", f"{ATTIC}/hours", {"kind": "allow", "until_ms": odd_ms}
            )
            assert (odd.status, "within a year" in odd.json["message"]) == (400, True)

    run(tmp_path, story)


def test_only_a_disconnected_machine_can_be_declared_dead(tmp_path: Path) -> None:
    async def story(master: ServedMaster) -> None:
        await attach_machine(master)
        body = {"reason": "the disk burned"}
        assert (await master.request("POST", f"{ATTIC}/dead", body)).status == 409
        await detach_machine(master)
        assert (await master.request("POST", f"{ATTIC}/dead", body)).json == {
            "name": "attic",
            "jobs": [],
        }

    run(tmp_path, story)


def test_a_machine_explains_why_it_starts_no_more_jobs(tmp_path: Path) -> None:
    async def story(master: ServedMaster) -> None:
        await attach_machine(master)
        await master.request("POST", f"{ATTIC}/settings", {"settings": {"allow": []}})
        await master.api("POST", "/commands", {"definition": NOTE})
        await master.api("POST", "/jobs", {"command": "note"})
        found = (await master.request("GET", f"{ATTIC}/why")).json
        assert found["code"] == "not_allowed"
        [keeps] = found["commands"]
        assert (keeps["command"], keeps["waiting"]) == ("note", 1)
        assert (await master.api("GET", "/machines/none/why")).status == 404

    run(tmp_path, story)


def test_defining_a_command_reports_if_no_machine_can_run_it(tmp_path: Path) -> None:
    async def story(master: ServedMaster) -> None:
        await attach_machine(master)

        async def nowhere(**more: Any) -> str:
            body = {"definition": NOTE | more, "replace": True}
            return str((await master.api("POST", "/commands", body)).json["nowhere"])

        assert await nowhere() == ""
        assert "no label gpu" in await nowhere(labels=["gpu"])
        assert "there is no semaphore nas" in await nowhere(semaphores={"nas": 2})
        await master.api("POST", "/semaphores/nas", {"size": 1})
        assert "nas, which has 1" in await nowhere(semaphores={"nas": 2})
        await master.api("POST", "/semaphores/nas", {"size": 2})
        assert await nowhere(semaphores={"nas": 2}) == ""
        await master.request("POST", f"{ATTIC}/settings", {"settings": {"allow": []}})
        assert "no machine allows note" in await nowhere()

    run(tmp_path, story)


def test_semaphores_are_created_resized_and_removed(tmp_path: Path) -> None:
    async def story(master: ServedMaster) -> None:
        url = "/api/v1/semaphores"
        made = await master.request("POST", f"{url}/nas", {"size": 3})
        nas = {"name": "nas", "size": 3, "used": 0, "free_when_frozen": False}
        assert (made.status, made.json) == (200, {"semaphores": [nas]})
        await master.request("POST", f"{url}/tuner", {"size": 2})
        assert [each["name"] for each in (await master.request("GET", url)).json["semaphores"]] == [
            "nas",
            "tuner",
        ]
        assert (await master.request("DELETE", f"{url}/tuner")).json == {"semaphores": [nas]}
        assert (await master.request("DELETE", f"{url}/tuner")).status == 404
        assert (await master.request("POST", f"{url}/nas", {"size": -1})).status == 400
        free = await master.request("POST", f"{url}/nas", {"size": 3, "free_when_frozen": True})
        assert free.json == {"semaphores": [nas | {"free_when_frozen": True}]}
        # Omitted fields keep their values.
        assert (await master.request("POST", f"{url}/nas", {"size": 3})).json == free.json

    run(tmp_path, story)
