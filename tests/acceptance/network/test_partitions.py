"""A cable that is cut for a while, for good, or in one direction; programs that hang.

Heartbeats and leases are short (fast_link.py). A witness, the job itself, notes when it runs.
"""

from __future__ import annotations

import itertools
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.acceptance.network import fast_link
from tests.acceptance.network.machine import Machine, join
from tests.support.namespaces import Network, connected_namespaces, find_obstacle

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(find_obstacle()), reason=find_obstacle()),
]
_PROGRAM: Final = (sys.executable, fast_link.__file__)
_CONNECTED: Final = "connected to the master as"
_LOST: Final = "connection to the master lost"
_NAMES: Final = (f"witness-{number}" for number in itertools.count())


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    with connected_namespaces() as made:
        yield made


@pytest.fixture(scope="module")
def machines(
    network: Network, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Machine, Machine]]:
    root = tmp_path_factory.mktemp("machines")
    first, second = (Machine(network, number, root / str(number), _PROGRAM) for number in range(2))
    try:
        join(first, second)
        yield first, second
    finally:
        second.stop()
        first.stop()


class Witness:
    """A job that notes each tenth of a second that it runs, until it is told to end. It notes them
    in a file, at once, and in its output."""

    def __init__(self, first: Machine, directory: Path, *options: str, terms: str) -> None:
        self._first = first
        self._directory = directory
        self._gate = directory / "gate"
        name = next(_NAMES)
        definition = directory / f"{name}.toml"
        script = (
            f"while ! test -e {self._gate}; do "
            f'now=$(date +%s%N); echo $now; echo $now >>"{directory}/$MYTHJOBS_ATTEMPT.log"; '
            "sleep 0.1; done"
        )
        definition.write_text(f"name = '{name}'\nshell = '''{script}'''\n{terms}\n")
        first.call("command", "add", str(definition))
        self.job: int = first.json("submit", name, "--prefer", "attic", *options)["id"]
        self.wait_for(1)

    def read(self, attempt: int) -> list[int]:
        """Return when an attempt ran, in ns."""
        path = self._directory / f"{attempt}.log"
        return [int(line) for line in path.read_text().split()] if path.exists() else []

    def wait_for(self, attempt: int, count: int = 1) -> None:
        """Wait until an attempt has run `count` tenths of a second more."""
        wanted = len(self.read(attempt)) + count
        for _ in range(600):
            if len(self.read(attempt)) >= wanted:
                return
            time.sleep(0.1)
        raise AssertionError(f"attempt {attempt} does not run")

    def finish(self) -> list[str]:
        """Let the job end, and compare its output with the file. Return the machines of its
        attempts, the first one first."""
        self._gate.touch()
        self._first.call("wait", str(self.job))
        shown: dict[str, Any] = self._first.json("show", str(self.job))
        attempts = sorted(shown["attempts"], key=lambda each: each["n"])
        output = self._first.call("log", str(self.job))
        assert [int(line) for line in output.split()] == self.read(attempts[-1]["n"])
        return [each["machine"] for each in attempts]


def wait_for_state(first: Machine, state: str) -> None:
    """Wait until the master shows the second machine in this state."""
    for _ in range(600):
        found = {each["name"]: each["state"] for each in first.json("machines")}
        if found["attic"] == state:
            return
        time.sleep(0.1)
    raise AssertionError(f"attic is {found['attic']}, not {state}")


KEEP: Final = "silence = 'keep'"


def test_a_short_cut_has_no_effect(
    network: Network, machines: tuple[Machine, Machine], tmp_path: Path
) -> None:
    first, second = machines
    witness = Witness(first, tmp_path, terms=KEEP)

    def cut() -> bool:
        """Cut the cable for two tenths of a second. Return whether the connection was lost."""
        lost, connected = (second.read_log().count(each) for each in (_LOST, _CONNECTED))
        network.set_link(up=False)
        witness.wait_for(1, 2)
        network.set_link(up=True)
        witness.wait_for(1, 12)
        if second.read_log().count(_LOST) == lost:
            return False
        second.wait_for(_CONNECTED, connected + 1)
        return True

    # On a busy machine a cut may last longer than the connection may be silent.
    assert not all(cut() for _ in range(5))
    assert witness.finish() == ["attic"]


@pytest.mark.parametrize("sender", [0, 1], ids=["from the master", "to the master"])
def test_a_cut_in_one_direction_ends_the_connection_on_both_sides(
    network: Network, machines: tuple[Machine, Machine], tmp_path: Path, sender: int
) -> None:
    first, second = machines
    witness = Witness(first, tmp_path, terms=KEEP)
    lost, connected = second.read_log().count(_LOST), second.read_log().count(_CONNECTED)
    silent = "sent nothing within the timeout"
    closed = first.read_log().count(silent)
    network.set_sending(sender, is_sending=False)
    # Neither side trusts TCP, which would wait for a quarter of an hour.
    second.wait_for(_LOST, lost + 1)
    if sender == 1:
        first.wait_for(silent, closed + 1)
    wait_for_state(first, "away")
    witness.wait_for(1, 2)
    network.set_sending(sender, is_sending=True)
    second.wait_for(_CONNECTED, connected + 1)
    wait_for_state(first, "up")
    assert witness.finish() == ["attic"]


def test_a_cut_until_both_sides_have_given_up_loses_no_output(
    network: Network, machines: tuple[Machine, Machine], tmp_path: Path
) -> None:
    """The job's output is followed meanwhile: the reader gets each line, and each one once."""
    first, second = machines
    witness = Witness(first, tmp_path, terms=KEEP)
    connected = second.read_log().count(_CONNECTED)
    with first.follow("log", str(witness.job), "--follow") as reader:
        witness.wait_for(1)
        network.set_link(up=False)
        wait_for_state(first, "away")
        witness.wait_for(1, 5)
        network.set_link(up=True)
        second.wait_for(_CONNECTED, connected + 1)
        wait_for_state(first, "up")
        witness.wait_for(1, 2)
        assert witness.finish() == ["attic"]
        followed, _ = reader.communicate(timeout=60)
    assert [int(line) for line in followed.split()] == witness.read(1)


def test_a_stopped_master_loses_no_job(machines: tuple[Machine, Machine], tmp_path: Path) -> None:
    first, second = machines
    witness = Witness(first, tmp_path, terms=KEEP)
    connected = second.read_log().count(_CONNECTED)
    program = first.programs[-1]
    program.send_signal(signal.SIGSTOP)
    try:
        second.wait_for(_LOST, second.read_log().count(_LOST) + 1)
        witness.wait_for(1)
    finally:
        program.send_signal(signal.SIGCONT)
    second.wait_for(_CONNECTED, connected + 1)
    assert witness.finish() == ["attic"]


def test_a_copied_disk_is_refused_while_the_original_is_connected(
    network: Network, machines: tuple[Machine, Machine], tmp_path: Path
) -> None:
    first, second = machines
    lost = second.read_log().count(_LOST)
    copy = Machine(network, 1, tmp_path, _PROGRAM)
    target = tmp_path / "state" / "agent"
    target.mkdir(mode=0o700, parents=True)
    target.parent.chmod(0o700)
    for name in ("agent.key", "network-master.json"):
        shutil.copy2(second.state / "agent" / name, target / name)
    copy.start("agent", ready="is already connected; two agents use the same key")
    copy.stop()
    assert [each["state"] for each in first.json("machines")] == ["up", "up"]
    assert second.read_log().count(_LOST) == lost


def test_a_pause_ends_while_neither_master_nor_agent_is_there(
    network: Network, machines: tuple[Machine, Machine], tmp_path: Path
) -> None:
    first, second = machines
    witness = Witness(first, tmp_path, terms=KEEP)
    first.call("machine", "pause", "attic", "for", "2s")
    network.set_link(up=False)
    second.kill()
    witness.wait_for(1, 2)  # the reaper has thawed the job
    network.set_link(up=True)
    second.start("agent", ready=_CONNECTED)
    assert witness.finish() == ["attic"]
    pairs = itertools.pairwise(witness.read(1))
    assert max(after - before for before, after in pairs) > 1_000_000_000


def test_a_partition_beyond_the_lease_moves_the_job_without_overlap(
    network: Network, machines: tuple[Machine, Machine], tmp_path: Path
) -> None:
    """The last test, as it leaves the cable pulled out."""
    first, _ = machines
    witness = Witness(first, tmp_path, terms="silence = 'rerun'\nlease = '2s'")
    network.set_link(up=False)
    witness.wait_for(2, 5)
    names = witness.finish()
    assert (names[0], len(names)) == ("attic", 2)
    assert names[1] != "attic"
    assert max(witness.read(1)) < min(witness.read(2))
    assert "all invariants" in first.call("check")
