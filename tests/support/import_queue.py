"""A real queue, and command lines of `mythjobs import` that run in this process."""

from __future__ import annotations

import json
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any, Final, NamedTuple

from mythjobs.cli.main import run
from mythjobs.client import locate
from mythjobs.client.client import Client
from mythjobs.model.command import RUN
from tests.support.machine_tree import MachineTree
from tests.support.parent_death import bind_to_parent

_READY: Final = b"mythjobs is up"
_TIMEOUT_S: Final = 60
_OPEN: Final = ("queued", "leased", "running")


class Finished(NamedTuple):
    code: int
    out: str
    err: str


class ImportQueue:
    """A running `mythjobs up`; commands read the files of `tree`."""

    def __init__(self, state_dir: Path) -> None:
        self.state_dir = state_dir

    def call(self, *arguments: str) -> Finished:
        out, err = StringIO(), StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            code = run(["--state-dir", str(self.state_dir), *arguments])
        return Finished(code, out.getvalue(), err.getvalue())

    def read(self, *arguments: str) -> Any:
        """Run a command with --json and return what it prints."""
        done = self.call(*arguments, "--json")
        assert done.code == 0, done
        return json.loads(done.out)

    def find_runners(self) -> dict[str, str]:
        """Return who runs each imported entry, by name."""
        return {each["name"]: each["run_by"] for each in self.read("import", "status")}

    def remove(self, kind: str, name: str) -> None:
        """Remove a command or a schedule, with "commands" or "schedules" as its kind."""
        Client(locate.find_socket(str(self.state_dir))).delete(f"{kind}/{name}")

    def remove_all(self) -> None:
        """Remove the schedules, their jobs, the commands and the record of imported entries."""
        client = Client(locate.find_socket(str(self.state_dir)))
        for each in client.get("schedules")["schedules"]:
            client.delete(f"schedules/{each['name']}")
        cancel_jobs(client)
        for each in client.get("commands")["commands"]:
            if each["name"] != RUN:
                client.delete(f"commands/{each['name']}")
        (self.state_dir / "import" / "entries.json").unlink(missing_ok=True)

    def apply(self, source: str, tree: MachineTree) -> None:
        done = self.call("import", source, "--root", str(tree.directory), "--apply")
        assert done.code == 0, done


def cancel_jobs(client: Client) -> None:
    """Cancel all jobs and wait for their ends."""
    client.post("jobs/all", {"act": "cancel", "states": list(_OPEN)})
    deadline_s = time.monotonic() + _TIMEOUT_S
    while any(client.get("jobs/count")["counts"][each] for each in _OPEN):
        assert time.monotonic() < deadline_s, client.get("jobs/count")
        time.sleep(0.02)


@contextmanager
def run_queue(directory: Path) -> Iterator[ImportQueue]:
    """Run `mythjobs up` with a state directory of its own."""
    state_dir = directory / "state"
    with (directory / "up.log").open("wb") as log:
        process = subprocess.Popen(
            bind_to_parent(
                sys.executable, "-P", "-m", "mythjobs", "--state-dir", str(state_dir), "up",
                "--port", "0", "--stop-jobs",
            ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
        )  # fmt: skip
        try:
            assert process.stdout is not None
            ready, _, _ = select.select([process.stdout], [], [], _TIMEOUT_S)
            assert ready, (directory / "up.log").read_text()
            assert process.stdout.readline().startswith(_READY), (directory / "up.log").read_text()
            queue = ImportQueue(state_dir)
            deadline = time.monotonic() + _TIMEOUT_S
            while not queue.read("machines"):
                assert time.monotonic() < deadline, (directory / "up.log").read_text()
                time.sleep(0.02)
            yield queue
        finally:
            process.terminate()
            process.communicate()


def take_snapshot(tree: MachineTree) -> dict[str, tuple[int, int, bytes | str]]:
    """Return the mode, the owner and the content, or a link's target, of each file of a tree."""
    found: dict[str, tuple[int, int, bytes | str]] = {}
    for path in sorted(tree.directory.rglob("*")):
        name = str(path.relative_to(tree.directory))
        status = path.lstat()
        if path.is_symlink():
            found[name] = (0, 0, str(path.readlink()))
        elif path.is_file():
            found[name] = (status.st_mode, status.st_uid, path.read_bytes())
    return found
