"""Start with a damaged state directory: recovery without loss, or an error that names the file."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mythjobs.config.runtime import ensure_runtime_dir
from mythjobs.config.state import StateDir
from tests.acceptance.local_cluster import TIMEOUT_S, find_pids_with_argument, wait_until
from tests.support.programs import link_programs

pytestmark = pytest.mark.slow

_OUTPUT = "seq 3000"  # more than the store keeps, so that the spool has it


@dataclass
class Queue:
    """A queue of real processes, with a log of all of them."""

    state: StateDir
    path: str
    log: Path
    up: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self._command(arguments), capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )

    def _command(self, arguments: tuple[str, ...]) -> list[str]:
        return [
            sys.executable, "-P", "-m", "mythjobs", "--state-dir", str(self.state.root), *arguments,
        ]  # fmt: skip

    def start(self) -> int | None:
        """Start the queue. Return None once it is up, or its exit code."""
        with self.log.open("ab") as log:
            up = subprocess.Popen(
                self._command(("up", "--port", "0", "--no-scaling")),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=os.environ | {"PATH": self.path},
            )  # fmt: skip
        self.up.append(up)
        wait_until(
            lambda: "is up" in self.text or up.poll() is not None, "the queue does not start"
        )
        return up.poll()

    @property
    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def kill(self) -> None:
        for up in self.up:
            up.kill()
            up.wait()
        # By command line: an agent that still starts holds no lock yet, and may start a reaper.
        while pids := find_pids_with_argument(self.state.root):
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        shutil.rmtree(ensure_runtime_dir(self.state), ignore_errors=True)


@contextmanager
def _queue(root: Path, path: str) -> Iterator[Queue]:
    queue = Queue(StateDir(root), path, root.with_name(f"{root.name}.log"))
    queue.log.touch()
    try:
        yield queue
    finally:
        queue.kill()


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A state directory whose processes were killed after two jobs, and a PATH."""
    root = tmp_path_factory.mktemp("damaged")
    path = link_programs(root / "bin", "sh", "seq", "true")
    (root / "state").mkdir(mode=0o700)
    with _queue(root / "state", path) as queue:
        assert queue.start() is None
        assert queue.run("run", "--", "true").returncode == 0
        assert queue.run("run", "--", "sh", "-c", _OUTPUT).returncode == 0
        wait_until(lambda: any(queue.state.output.rglob("2.1.1")), "no output was collected")
    return root / "state", path


@pytest.fixture
def queue(killed: tuple[Path, str], tmp_path: Path) -> Iterator[Queue]:
    root, path = killed
    ignored = shutil.ignore_patterns("*.sock", "socket")
    shutil.copytree(root, tmp_path / "state", ignore=ignored, symlinks=True)
    with _queue(tmp_path / "state", path) as found:
        yield found


def _halve(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _fill_with_zeros(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def _fill_store_with_zeros(path: Path) -> None:
    _fill_with_zeros(path)
    # The log may hold the first page, with which the file is a store, and a damaged one.
    path.with_name(f"{path.name}-wal").unlink()


def _make_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _append(text: str) -> Callable[[Path], None]:
    def append(path: Path) -> None:
        with path.open("a") as file:
            file.write(text)

    return append


_SURVIVED: list[tuple[str, Callable[[Path], None]]] = [
    ("master.json", _halve),
    ("master.pub", _fill_with_zeros),
    ("store.db-shm", _fill_with_zeros),
    ("store.db-reserve", _halve),
    ("agent/journal", _halve),
    ("agent/journal", _fill_with_zeros),
    ("agent/journal", _append('\n{"grant":[[5.1]],"boot":7}\n{"over":5}\n')),
    ("agent/reapers/*/journal", _fill_with_zeros),
    ("agent/reapers/*/journal", _append('\n{"start":[9,1]}\n{"end":{"job":9,"n":1,"usage":5}}\n')),
    ("agent/reapers/*/journal", _append('\n{"start":["9",1]}\n{"reaper":[]}\n{"ack":5}\n')),
    ("agent/lock", _append("x")),
    ("agent/reapers", lambda path: (path / "stray").touch()),
    ("agent/output", lambda path: (path / "².1").touch()),
]


@pytest.mark.parametrize("name, damage", _SURVIVED)
def test_the_queue_works_on(queue: Queue, name: str, damage: Callable[[Path], None]) -> None:
    for path in queue.state.root.glob(name):
        damage(path)
    assert queue.start() is None
    done = queue.run("run", "--", "seq", "3")
    assert (done.returncode, done.stdout) == (0, "1\n2\n3\n"), done.stderr
    assert queue.run("log", "2").stdout.endswith("\n3000\n")
    assert queue.run("check").returncode == 0
    assert "Traceback" not in queue.text


def _make_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _link_to_dev_zero(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


_REFUSED: list[tuple[str, Callable[[Path], None], int, str]] = [
    ("store.db", _halve, os.EX_IOERR, "store.db is damaged .* restore a backup"),
    ("store.db", _fill_store_with_zeros, os.EX_CONFIG, "store.db is not a mythjobs store; move"),
    ("master.key", _halve, os.EX_CONFIG, "master.key is not an Ed25519 key; restore"),
    ("master.key", _make_directory, os.EX_CANTCREAT, "cannot use .*master.key: Is a directory"),
    ("master.lock", _make_directory, os.EX_CANTCREAT, "cannot use .*master.lock: Is a directory"),
    ("master.key", _make_fifo, os.EX_CANTCREAT, "cannot use .*master.key: it is a FIFO, .*move it"),
    ("token", _link_to_dev_zero, os.EX_CANTCREAT, "cannot use .*token: it is a device, .*move it"),
    ("agent/journal", _make_fifo, os.EX_CANTCREAT, "cannot use .*agent/journal: it is a FIFO"),
    ("token", _halve, os.EX_CONFIG, "token has no valid token; remove the file"),
]


@pytest.mark.parametrize("name, damage, code, message", _REFUSED)
def test_the_queue_names_the_file(
    queue: Queue, name: str, damage: Callable[[Path], None], code: int, message: str
) -> None:
    damage(queue.state.root / name)
    assert queue.start() == code
    assert re.search(message, queue.text)
    assert "Traceback" not in queue.text


def test_a_check_without_a_master_names_the_lock(queue: Queue) -> None:
    _make_directory(queue.state.master_lock)
    done = queue.run("check")
    assert done.returncode == os.EX_CANTCREAT
    assert re.search("^mythjobs: cannot use .*master.lock: Is a directory; see", done.stderr)


@pytest.mark.parametrize("name", ["agent/journal", "agent/agent.key"])
def test_the_agent_names_the_file(queue: Queue, name: str) -> None:
    _make_directory(queue.state.root / name)
    assert queue.start() is None
    message = re.compile(f"cannot use .*{name}: Is a directory; see that")
    wait_until(lambda: bool(message.search(queue.text)), "the agent reports no error")
    assert "Traceback" not in queue.text


def test_the_rest_of_damaged_output_is_shown(queue: Queue) -> None:
    [path] = queue.state.output.rglob("2.1.1")
    os.truncate(path, 9)
    assert queue.start() is None
    shown = queue.run("log", "2")
    assert shown.stdout == "1\n2\n3\n4\n5"
    assert "Traceback" not in queue.text
    assert "2.1.1 has 9 of 13893 bytes" in queue.text
