"""Capabilities that a machine reports."""

from mythjobs.agent.capabilities import list_capabilities
from mythjobs.protocol.messages import CAPABILITIES


def test_memory_and_processes_need_kernel_enforcement() -> None:
    tree = {"contain", "memory", "processes"}
    assert set(list_capabilities(None)) == CAPABILITIES - tree
    assert set(list_capabilities(frozenset({"processes"}))) == CAPABILITIES - {"memory"}
