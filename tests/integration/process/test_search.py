"""Search of the descendants of many children in a host program: one look through /proc for all."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import pytest

from mythjobs.model.limits import Limits
from mythjobs.process import procfs
from mythjobs.process.event_loop import EventLoop
from mythjobs.process.supervise.child import Child
from mythjobs.process.supervise.guest_descendants import TREE_VARIABLE, GuestDescendants


@pytest.fixture
def loop() -> Iterator[EventLoop]:
    loop = EventLoop()
    yield loop
    loop.close()


def test_proc_is_searched_once_in_an_iteration(
    loop: EventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Seen: a stop of 1,000 children read /proc 1,000 times and took 46 s on a busy machine.
    searches: list[str] = []
    real = procfs.list_directory

    def list_directory(path: str) -> list[str]:
        searches.append(path)
        return real(path)

    monkeypatch.setattr(procfs, "list_directory", list_directory)
    children = [Child(Limits()) for _ in range(3)]
    for number, child in enumerate(children):
        child.mark = f"mark{number}"
    descendants = GuestDescendants(loop, {})
    environment = {TREE_VARIABLE: "other mark1"}
    with subprocess.Popen(["sleep", "600"], env=environment, start_new_session=True) as daemon:
        found = [list(descendants.find_daemons(child)) for child in children]
        assert searches == ["/proc"]
        assert [[each.pid for each in some] for some in found] == [[], [daemon.pid], []]
        daemon.kill()
        os.waitid(os.P_PID, daemon.pid, os.WEXITED | os.WNOWAIT)
        # A process that has died since the search is not returned.
        assert not list(descendants.find_daemons(children[1]))
        loop.call_soon(lambda: None)
        loop.run_once()
        assert not list(descendants.find_daemons(children[1]))
    assert searches == ["/proc", "/proc"]
    descendants.close()
