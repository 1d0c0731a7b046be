"""Two machines on a network, each with its own root, as their owner adds and removes the second."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support.namespaces import ADDRESSES, Network, connected_namespaces, find_obstacle

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(find_obstacle()), reason=find_obstacle()),
]
_PROGRAM: Final = [sys.executable, "-m", "mythjobs", "--state-dir"]
_TIMEOUT_S: Final = 60
_LINES: Final = 20_000


class Machine:
    """One machine: runs `mythjobs` in its namespace, with its own state and runtime directory."""

    def __init__(self, network: Network, number: int, root: Path) -> None:
        runtime = root / "run"
        runtime.mkdir(parents=True)
        self._prefix = [*network.prefix(number), *_PROGRAM, str(root / "state")]
        self._env = os.environ | {"XDG_RUNTIME_DIR": str(runtime)}
        self._root = root
        self.programs: list[subprocess.Popen[bytes]] = []

    def call(self, *arguments: str, code: int = 0) -> str:
        done = subprocess.run(
            [*self._prefix, *arguments],
            env=self._env,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
        )
        assert done.returncode == code, (arguments, done.stdout, done.stderr)
        return done.stdout + done.stderr

    def json(self, *arguments: str) -> Any:
        return json.loads(self.call(*arguments, "--json"))

    def start(self, *arguments: str, ready: str) -> None:
        """Start a long-running program; return once it has printed `ready`."""
        self._log = self._root / f"log-{len(self.programs)}"
        log = self._log.open("ab")
        program = subprocess.Popen(
            [*self._prefix, *arguments], env=self._env, stdout=log, stderr=log
        )
        log.close()
        self.programs.append(program)
        self.wait_for(ready)

    def wait_for(self, text: str) -> None:
        """Wait until the program started last has printed a text."""
        waiting = ["timeout", str(_TIMEOUT_S), "tail", "-F", "-n", "+1", str(self._log)]
        with subprocess.Popen(waiting, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as tail:
            assert tail.stdout is not None
            found = any(text.encode() in line for line in tail.stdout)
            tail.kill()
        assert found, f"{text!r} is not in the log:\n{self._log.read_text()}"

    def stop(self) -> None:
        for program in self.programs:
            program.poll()
            program.send_signal(signal.SIGTERM)
        for program in self.programs:
            program.wait(_TIMEOUT_S)


@pytest.fixture
def network() -> Iterator[Network]:
    with connected_namespaces() as made:
        yield made


@pytest.fixture
def machines(network: Network, tmp_path: Path) -> Iterator[tuple[Machine, Machine]]:
    first, second = (Machine(network, number, tmp_path / str(number)) for number in range(2))
    try:
        yield first, second
    finally:
        second.stop()
        first.stop()


def _join(first: Machine, second: Machine) -> None:
    first.start("up", "--jobs", "1", ready="mythjobs is up")
    first.call("lan", "on")
    line = first.json("machine", "invite", "--name", "attic")
    second.call("agent", "join", line["token"])
    second.start("agent", ready="connected to the master")


def test_a_job_on_the_second_machine_survives_a_pulled_cable(
    network: Network, machines: tuple[Machine, Machine], tmp_path: Path
) -> None:
    first, second = machines
    _join(first, second)
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
    _join(first, second)
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
