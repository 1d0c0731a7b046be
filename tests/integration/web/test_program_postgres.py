"""The master program with a PostgreSQL store."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from mythjobs.client.client import Client
from mythjobs.client.locate import find_socket
from mythjobs.config.state import open_state, read_master_info
from tests.integration.web.test_program import end, first_line, master
from tests.support import postgres


@pytest.mark.slow
def test_a_master_keeps_its_queue_in_postgresql(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    binaries = postgres.find_binaries()
    if binaries is None:
        pytest.skip("PostgreSQL is not installed")
    with postgres.run_server(binaries, "fsync=on", "full_page_writes=on") as server:
        url = server.create_database()
        monkeypatch.setenv("MYTHJOBS_STORE", f"{url}&password=secret")
        for jobs in (1, 2):
            with master(tmp_path / "s") as process:
                assert first_line(process).startswith("http://127.0.0.1:")
                info = read_master_info(open_state(tmp_path / "s"))
                assert info is not None
                assert info.store == url
                client = Client(find_socket(str(tmp_path / "s")))
                run = {"argv": ["true"], "env": {}, "cwd": "/"}
                client.post("jobs", {"command": "run", "run": run})
                status = client.get("status")
                assert (status["store"], status["counts"]["queued"]) == (url, jobs)
                assert client.get("check")["count"] == 0
                assert end(process, signal.SIGTERM) == 0
        assert not (tmp_path / "s/store.db").exists()

        monkeypatch.setenv("MYTHJOBS_STORE", "mysql://x")
        with master(tmp_path / "s") as process:
            assert first_line(process).startswith("MYTHJOBS_STORE: the store")
            assert process.wait(60) == 78
