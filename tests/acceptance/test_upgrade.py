"""Upgrade and downgrade in the middle of a job, with two packages that are really installed."""

from __future__ import annotations

import hashlib
import os
import select
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import pytest

import mythjobs
from mythjobs.client import locate
from mythjobs.client.client import Client
from tests.support.installation import Installation, unpack_wheel
from tests.support.parent_death import terminate_with_parent
from tests.support.programs import link_programs

OLD: Final = f"{mythjobs.__version__}.post1"
NEW: Final = f"{mythjobs.__version__}.post2"
TIMEOUT_S: Final = 60
# Writes numbered lines, over 64 KiB of them, until the gate exists; then the checksum of them all.
_SCRIPT: Final = """
number=0
while ! test -e {directory}/gate; do
    number=$((number + 1))
    line=$(printf '%02000d' $number)
    echo $line
    echo $line >>{directory}/lines
    sleep 0.01
done
sha256sum <{directory}/lines
"""


class Queue:
    """`mythjobs up` of an installation."""

    def __init__(self, installation: Installation, root: Path) -> None:
        self.state = root / "state"
        self._installation = installation
        (root / "run").mkdir()
        path = link_programs(root / "programs", "sh", "sleep", "sha256sum")
        self._env = os.environ | {"PATH": path, "XDG_RUNTIME_DIR": str(root / "run")}
        self._log = root / "log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, version: str) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *self._installation.program, "--state-dir", self.state, "up", "--port", "0",
                    # With automatic scaling, a job would wait as long as other programs use the
                    # cores.
                    "--jobs", "4", "--no-scaling",
                ],
                env=self._env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log,
            )  # fmt: skip
        assert self._process.stdout is not None
        with self._process.stdout as stdout:
            ready, _, _ = select.select([stdout], [], [], TIMEOUT_S)
            assert ready, self._log.read_text()
            assert b"is up" in stdout.readline(), self._log.read_text()
        assert self.get("status")["version"] == version
        self.wait(lambda: [each["state"] for each in self.get("machines")["machines"]] == ["up"])

    def stop(self) -> None:
        assert self._process is not None
        self._process.terminate()
        assert self._process.wait(TIMEOUT_S) == 0, self._log.read_text()
        self._process = None

    def wait(self, condition: Callable[[], bool]) -> None:
        deadline_s = time.monotonic() + TIMEOUT_S
        while not condition():
            assert time.monotonic() < deadline_s, self._log.read_text()
            time.sleep(0.05)

    def get(self, path: str) -> dict[str, Any]:
        return self._client().get(path, {})

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        return self._client().post(path, body)

    def read_output(self, job: int) -> bytes:
        kept: list[bytes] = []
        self._client().stream(f"jobs/{job}/output", {}, kept.append)
        return b"".join(kept)

    def _client(self) -> Client:
        return Client(locate.find_socket(str(self.state)))

    def run(self, command: str) -> None:
        """Run a job from its submit to its success."""
        job = self.post("jobs", {"command": command})["id"]
        self.wait(lambda: self.get(f"jobs/{job}")["state"] == "succeeded")

    def find_reapers(self) -> set[str]:
        """Return the versions of the reapers that run."""
        return {each.name.rpartition("-")[0] for each in (self.state / "agent/reapers").iterdir()}


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    return Installation(tmp_path / "venv")


@pytest.fixture
def queue(installation: Installation, tmp_path: Path) -> Iterator[Queue]:
    with terminate_with_parent(tmp_path):
        yield Queue(installation, tmp_path)


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("packages")
    with ThreadPoolExecutor() as pool:
        built = pool.map(lambda version: unpack_wheel(root / version, version), (OLD, NEW))
    return dict(zip((OLD, NEW), built, strict=True))


class CountingJob:
    """A job that writes numbered lines until finish() lets it end."""

    def __init__(self, queue: Queue, directory: Path) -> None:
        self._queue = queue
        self._gate, self._lines = directory / "gate", directory / "lines"
        script = _SCRIPT.format(directory=directory)
        queue.post("commands", {"definition": {"name": "count", "shell": script}})
        self.id: int = queue.post("jobs", {"command": "count"})["id"]

    def wait_for_lines(self, count: int = 20) -> None:
        """Wait until the job has written this many lines more."""
        before = self._count()
        self._queue.wait(lambda: self._count() >= before + count)

    def _count(self) -> int:
        return self._lines.read_bytes().count(b"\n") if self._lines.exists() else 0

    def finish(self) -> dict[str, Any]:
        self._gate.touch()
        self._queue.wait(lambda: self._queue.get(f"jobs/{self.id}")["state"] != "running")
        return self._queue.get(f"jobs/{self.id}")


@pytest.mark.slow
def test_a_job_survives_an_upgrade_and_a_downgrade(
    installation: Installation, packages: dict[str, Path], queue: Queue, tmp_path: Path
) -> None:
    installation.install(packages[OLD])
    queue.start(OLD)
    queue.post("commands", {"definition": {"name": "short", "argv": ["/bin/true"]}})
    job = CountingJob(queue, tmp_path)
    job.wait_for_lines()

    # An upgrade as pip does it: the files are replaced while the old programs run. Even before
    # the new files are there, the old programs do their work without theirs.
    installation.uninstall()
    queue.run("short")
    installation.install(packages[NEW])
    queue.run("short")
    queue.stop()
    queue.start(NEW)
    job.wait_for_lines()
    queue.run("short")
    # The job goes on under the old reaper, and new jobs start under one of the new version.
    assert queue.find_reapers() == {OLD, NEW}

    # A downgrade after a stop.
    queue.stop()
    installation.uninstall()
    job.wait_for_lines()
    installation.install(packages[OLD])
    queue.start(OLD)
    queue.run("short")
    job.wait_for_lines()

    shown = job.finish()
    assert (shown["state"], [each["n"] for each in shown["attempts"]]) == ("succeeded", [1])
    *lines, checksum = queue.read_output(job.id).splitlines(keepends=True)
    assert [int(line) for line in lines] == list(range(1, len(lines) + 1))
    assert len(b"".join(lines)) > 64 * 1024
    assert checksum.split()[0].decode() == hashlib.sha256(b"".join(lines)).hexdigest()
    assert queue.get("check")["count"] == 0
    # The reaper of the newer version has nothing left to do.
    queue.wait(lambda: queue.find_reapers() == {OLD})
    queue.stop()
