"""Two machines on a network, each with its own root, as their owner adds and removes the second."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

import pytest

from tests.acceptance.network.machine import Machine, join
from tests.support.namespaces import ADDRESSES, Network, find_obstacle

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(find_obstacle()), reason=find_obstacle()),
]
_LINES: Final = 20_000


def test_a_job_on_the_second_machine_survives_a_pulled_cable(
    network: Network, machines: tuple[Machine, Machine], tmp_path: Path
) -> None:
    first, second = machines
    join(first, second)
    # The job writes half of its output, waits for a file, and writes the rest.
    gate = tmp_path / "gate"
    script = (
        f"seq 1 {_LINES // 2}; while ! test -e {gate}; do sleep 0.05; done; "
        f"seq {_LINES // 2 + 1} {_LINES}; ip -o address show cable"
    )
    definition = tmp_path / "count.toml"
    definition.write_text(f'name = "count"\nshell = """{script}"""\n')
    first.call("command", "add", str(definition))
    job = first.json("submit", "count", "--machine", "attic")["id"]
    network.set_link(up=False)
    second.wait_for("connection to the master lost")
    gate.touch()  # the job ends while nobody can be told
    network.set_link(up=True)
    first.call("wait", str(job))
    log = first.call("log", str(job)).splitlines()
    expected = [str(number) for number in range(1, _LINES + 1)]
    assert _digest(log[:_LINES]) == _digest(expected)
    assert ADDRESSES[1] in log[_LINES]
    shown = first.json("show", str(job))
    assert [(each["machine"], each["n"]) for each in shown["attempts"]] == [("attic", 1)]
    assert "all invariants" in first.call("check")


def test_a_master_that_restarts_finds_its_machines_and_a_revoked_one_stays_away(
    machines: tuple[Machine, Machine],
) -> None:
    first, second = machines
    join(first, second)
    first.stop()
    first.start("up", "--jobs", "1", ready="mythjobs is up")
    assert first.json("lan", "status")["open"] is True
    assert f"{ADDRESSES[0]}:6545" in second.call("agent", "join")  # found by mDNS
    [own] = [each["name"] for each in first.json("machines") if each["name"] != "attic"]
    first.call("machine", "set", own, "--jobs", "0")
    assert ADDRESSES[1] in first.call("run", "--", "ip", "address", "show", "cable")
    first.call("machine", "revoke", "attic", "--yes")
    second.wait_for("was revoked")
    assert [each["name"] for each in first.json("machines")] == [own]
    assert "there is no machine" in first.call("machine", "show", "attic", code=2)


def _digest(lines: list[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
