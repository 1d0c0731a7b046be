"""No file below a state directory can be read by other users, with any umask of its programs."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.local_cluster import run_cluster, wait_until


@pytest.fixture
def open_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def _find_open_files(root: Path) -> list[str]:
    return [
        f"{path.relative_to(root)} {stat.S_IMODE(path.lstat().st_mode):o}"
        for path in sorted(root.rglob("*"))
        if not path.is_symlink() and path.lstat().st_mode & 0o077
    ]


@pytest.mark.slow
@pytest.mark.usefixtures("open_umask")
def test_all_files_of_a_running_queue_are_private(tmp_path: Path) -> None:
    with run_cluster(tmp_path) as cluster:
        # Much output goes through the spool, that of a running job is in the agent's files.
        shell = "seq 5000; test -z $MYTHJOBS_P_LAST || sleep 60"
        definition = {"name": "count", "shell": shell, "parameters": [{"name": "last"}]}
        cluster.post("commands", {"definition": definition, "replace": False})
        cluster.post("channels/hook", {"url": "json://127.0.0.1:9/"})
        cluster.post("jobs", {"command": "count", "arguments": {"last": ""}})
        cluster.post("jobs", {"command": "count", "arguments": {"last": "yes"}})
        wait_until(
            lambda: cluster.get("jobs", state="running,succeeded")["jobs"].__len__() == 2,
            "one job has not ended while the other runs",
        )
        wait_until(lambda: any(cluster.state.output.rglob("1.*")), "no output was collected")
        roots = [each.root for each in cluster.states.values()]
        files = {path.name for root in roots for path in root.rglob("*")}
        assert {"store.db", "store.db-wal", "journal", "log", "secrets.key", "master.pub"} <= files
        assert [each for root in roots for each in _find_open_files(root)] == []
