"""A failed job of a real queue is announced with the last lines of its output."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acceptance.local_cluster import run_cluster
from tests.support.message_services import http_service


@pytest.mark.slow
def test_a_failed_job_is_announced_with_its_last_lines(tmp_path: Path) -> None:
    with http_service() as service, run_cluster(tmp_path) as cluster:
        url = f"json://127.0.0.1:{service.port}/"
        cluster.post("channels/hook", {"url": url})
        beat = f"http://127.0.0.1:{service.port}/uuid"
        shell = "echo begin; echo 'cannot read the disk' >&2; exit 3"
        definition = {"name": "backup", "shell": shell, "heartbeat": beat}
        cluster.post("commands", {"definition": definition, "replace": False})
        cluster.post("jobs", {"command": "backup"})
        service.wait_until(lambda: bool(service.received) and len(service.called) == 2)
        [message] = service.received
        assert message["title"] == "mythjobs: backup failed"
        assert "cannot read the disk" in message["message"]
        assert "mythjobs show 1" in message["message"]
        assert service.called == ["/uuid/start", "/uuid/3"]
