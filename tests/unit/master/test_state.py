"""Drafts of the master's state: a turn copies only the machines that it changes."""

from __future__ import annotations

from mythjobs.master.machine import Machine
from tests.unit.master.harness import Harness


def copied(master: Harness, before: dict[int, Machine]) -> list[str]:
    """Return the names of the machines that have been copied since."""
    after = master.core.state.machines
    return [each.name for key, each in after.items() if before.get(key) is not each]


def test_a_turn_copies_only_the_machines_that_it_changes(master: Harness) -> None:
    master.define()
    connections = {name: master.join(name, cores=1) for name in ("attic", "cellar", "den")}
    before = dict(master.core.state.machines)
    master.heartbeat(connections["cellar"])
    assert copied(master, before) == ["cellar"]
    before = dict(master.core.state.machines)
    [job] = master.queue(1)
    [name] = copied(master, before)
    assert master.take_grants(name) == [job]
    # Nothing changes: a job waits for room, and a request is refused.
    master.queue(2)
    before = dict(master.core.state.machines)
    master.queue(1)
    assert copied(master, before) == []


def test_a_connection_leads_to_its_machine(master: Harness) -> None:
    first = master.join("attic")
    second = master.join("cellar")
    state = master.core.state
    assert [state.machines[each].name for each in state.by_connection.values()] == [
        "attic", "cellar",
    ]  # fmt: skip
    master.disconnect(first)
    assert master.core.state.machine_on_connection(first) is None
    found = master.core.state.machine_on_connection(second)
    assert found is not None
    assert found.name == "cellar"
    again = master.join("attic")
    assert master.core.state.by_connection.keys() == {second, again}
