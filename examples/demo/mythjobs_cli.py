"""Calls of the `mythjobs` command, as a user types them."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

PROGRAM = Path(sys.executable).with_name("mythjobs")


class DemoError(Exception):
    """A call of `mythjobs` failed."""


class Job(NamedTuple):
    id: int
    command: str
    state: str
    progress: float | None

    @property
    def percent(self) -> float | None:
        """What is done: all of a job that has succeeded, whatever its program reported last."""
        return 100.0 if self.state == "succeeded" else self.progress


class Queue:
    """`mythjobs up` with its own state directory."""

    def __init__(self, state: Path) -> None:
        self._mythjobs = [str(PROGRAM), "--state-dir", str(state)]
        self._log = state.with_name("up.log")
        self._up: subprocess.Popen[bytes] | None = None

    def start(self, timeout_s: float = 30.0) -> str:
        """Start `up`, and return its ready line."""
        with self._log.open("wb") as log:
            self._up = subprocess.Popen(
                [*self._mythjobs, "up", "--port", "0", "--stop-jobs"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ctrl-C interrupts only the demo, which stops `up` in order.
                start_new_session=True,
            )
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            output = self._log.read_text(errors="replace")
            for line in output.splitlines(keepends=True):
                if line.startswith("mythjobs is up") and line.endswith("\n"):
                    return line.rstrip()
            if self._up.poll() is not None:
                raise DemoError(f"`mythjobs up` exited with {self._up.returncode}:\n{output}")
            time.sleep(0.02)
        raise DemoError(f"`mythjobs up` was not ready after {timeout_s:.0f} s:\n{output}")

    def stop(self, timeout_s: float = 20.0) -> None:
        if self._up is not None:
            self._up.terminate()
            try:
                self._up.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self._up.kill()
                self._up.wait()

    def submit(self, command: str, *options: str, **parameters: object) -> int:
        parameter_options = [f"--param={name}={value}" for name, value in parameters.items()]
        job_id: int = self.read("submit", command, *options, *parameter_options)["id"]
        return job_id

    def jobs(self, ids: list[int]) -> list[Job]:
        found = {each["id"]: each for each in self.read("jobs")}
        return [
            Job(each["id"], each["command"], each["state"], each["progress"])
            for each in (found[job_id] for job_id in ids)
        ]

    def read(self, *arguments: str) -> Any:
        return json.loads(self.call(*arguments, "--json"))

    def call(self, *arguments: str) -> str:
        done = subprocess.run(
            [*self._mythjobs, *arguments], capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            output = (done.stderr or done.stdout).strip()
            raise DemoError(
                f"`mythjobs {' '.join(arguments)}` exited with {done.returncode}: {output}"
            )
        return done.stdout
