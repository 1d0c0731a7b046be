"""`mythjobs master` runs the bridge to MythTV while a backend is configured."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mythjobs.mythtv.bridge.state_files import read_status
from mythjobs.mythtv.settings import BridgeSettings, bridge_dir, save_settings
from tests.support.mythtv.backend import FakeBackend
from tests.support.mythtv.bridge import TIMEOUT_S, wait_for
from tests.support.mythtv.services import FakeServices
from tests.support.parent_death import bind_to_parent


@pytest.mark.slow
def test_the_bridge_is_started_again_and_does_not_outlive_its_master(tmp_path: Path) -> None:
    root = tmp_path / "s"
    root.mkdir(mode=0o700)
    directory = bridge_dir(root)
    backend, services = FakeBackend(), FakeServices()
    save_settings(directory, BridgeSettings("127.0.0.1", backend.port, services.port))
    master = subprocess.Popen(
        bind_to_parent(
            sys.executable, "-P", "-m", "mythjobs", "--state-dir", root, "master", "--port", "0"
        ),
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip

    def find_bridge(other_than: int = 0) -> Any:
        found = read_status(directory)
        are_connected = found.get("monitor_2") == found.get("monitor_3") == "connected"
        return found["pid"] if are_connected and found["pid"] != other_than else None

    try:
        first = wait_for(find_bridge, "no bridge")
        os.kill(first, signal.SIGKILL)
        second = wait_for(lambda: find_bridge(first), "the bridge was not started again")
        pidfd = os.pidfd_open(second)
        # A master that is killed cannot end its bridge, which notices that itself.
        master.kill()
        assert select.select([pidfd], [], [], TIMEOUT_S)[0], "the bridge outlives its master"
        os.close(pidfd)
    finally:
        master.kill()
        master.wait()
        backend.close()
        services.close()
    assert read_status(directory)["pid"] == 0
