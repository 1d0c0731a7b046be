"""One machine of a network test: runs `mythjobs` in a network namespace of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from tests.support.namespaces import Network
from tests.support.programs import link_programs

PROGRAM: Final = (sys.executable, "-m", "mythjobs")
_TIMEOUT_S: Final = 60


class Machine:
    """One machine: runs `mythjobs` in its namespace, with its own state and runtime directory."""

    def __init__(
        self, network: Network, number: int, root: Path, program: Sequence[str] = PROGRAM
    ) -> None:
        runtime = root / "run"
        runtime.mkdir(parents=True)
        self._prefix = [*network.prefix(number), *program, "--state-dir", str(root / "state")]
        path = link_programs(root / "programs", "date", "ip", "seq", "sh", "sleep")
        self._env = os.environ | {"PATH": path, "XDG_RUNTIME_DIR": str(runtime)}
        self._root = root
        self.state = root / "state"
        self.programs: list[subprocess.Popen[bytes]] = []

    def call(self, *arguments: str, code: int = 0) -> str:
        done = subprocess.run(
            [*self._prefix, *arguments],
            env=self._env,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
        )
        assert done.returncode == code, (arguments, done.stdout, done.stderr)
        return done.stdout + done.stderr

    def json(self, *arguments: str) -> Any:
        return json.loads(self.call(*arguments, "--json"))

    def follow(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a command whose output is read later."""
        return subprocess.Popen(
            [*self._prefix, *arguments], env=self._env, stdout=subprocess.PIPE, text=True
        )

    def start(self, *arguments: str, ready: str) -> None:
        """Start a long-running program; return once it has printed `ready`."""
        self._log = self._root / f"log-{len(self.programs)}"
        log = self._log.open("ab")
        program = subprocess.Popen(
            [*self._prefix, *arguments], env=self._env, stdout=log, stderr=log
        )
        log.close()
        self.programs.append(program)
        self.wait_for(ready)

    def wait_for(self, text: str, count: int = 1) -> None:
        """Wait until the program started last has printed a text in `count` lines."""
        waiting = ["timeout", str(_TIMEOUT_S), "tail", "-F", "-n", "+1", str(self._log)]
        found = 0
        with subprocess.Popen(waiting, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as tail:
            assert tail.stdout is not None
            for line in tail.stdout:
                found += text.encode() in line
                if found == count:
                    break
            tail.kill()
        assert found == count, f"{text!r} is not in the log:\n{self.read_log()}"

    def read_log(self) -> str:
        """Return what the program started last has printed."""
        return self._log.read_text()

    def kill(self) -> None:
        """Kill the program started last."""
        program = self.programs.pop()
        program.kill()
        program.wait(_TIMEOUT_S)

    def stop(self) -> None:
        for program in self.programs:
            program.poll()
            program.send_signal(signal.SIGTERM)
        for program in self.programs:
            program.wait(_TIMEOUT_S)


def join(first: Machine, second: Machine) -> None:
    """Start a queue on the first machine, and let the second one join it as attic."""
    first.start("up", "--jobs", "1", ready="mythjobs is up")
    first.call("lan", "on")
    line = first.json("machine", "invite", "--name", "attic")
    second.call("agent", "join", line["token"])
    second.start("agent", ready="connected to the master")
