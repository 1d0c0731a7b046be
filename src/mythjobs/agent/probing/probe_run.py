"""Probe process: runs the probes that it is asked for and prints the results as JSON.

A process of its own, so that the agent neither loads the library that runs programs nor waits for
them. It gets the probes' names and paths as JSON on its standard input.
"""

from __future__ import annotations

import json
import os
import re
import sys
from typing import Any, Final

from mythjobs.agent.probing import probes
from mythjobs.agent.probing.devices import find_drivers, find_render_devices
from mythjobs.model.limits import Limits
from mythjobs.model.outcome import Breached
from mythjobs.process.library.api import MERGED, MythSystem

_LIMITS: Final = Limits(wall_s=60.0, cpu_s=20.0, grace_s=1.0)
_NICE: Final = 10


def run_probes(paths: dict[str, str]) -> dict[str, Any]:
    """Run probes. paths: by label, the program to run, "" if there is none.

    Return {label: {"labels": […], "gpus": […], "is_certain": …}} for each given label. It is not
    certain if a program took too long: it hangs, or the machine is busy.
    """
    return {label: _run_probe(_Programs(), label, path) for label, path in paths.items()}


class _Programs:
    """Runs programs, and notes whether one took too long."""

    def __init__(self) -> None:
        self.are_in_time = True

    def run(self, *argv: str) -> tuple[int | None, str]:
        """Return a program's exit code, None if it has none, and its output."""
        spec = MythSystem(argv, stderr=MERGED, cwd="/", limits=_LIMITS, best_effort=True)
        done = spec.run()
        self.are_in_time = self.are_in_time and not isinstance(done.outcome, Breached)
        return done.exit_code, done.stdout.tail().decode("utf-8", "replace")


def _run_probe(programs: _Programs, label: str, path: str) -> dict[str, Any]:
    gpus: list[str] = []
    if label == probes.GPU:
        gpus = _find_gpus(programs, path)
        labels = [label] if gpus else []
    else:
        labels = _probe_program(programs, label, path)
    return {"labels": labels, "gpus": gpus, "is_certain": programs.are_in_time}


def _probe_program(programs: _Programs, label: str, path: str) -> list[str]:
    probe = next(each for each in probes.PROGRAM_PROBES if each.label == label)
    code, text = programs.run(path, *probe.arguments)
    if code not in probe.codes or not re.search(probe.pattern, text):
        return []
    if label != probes.FFMPEG:
        return [label]
    return [label, *(f"{label}:{each}" for each in _find_working_encoders(programs, path))]


def _find_working_encoders(programs: _Programs, path: str) -> list[str]:
    _, listing = programs.run(path, "-hide_banner", "-encoders")
    device = next(iter(find_render_devices()), "")
    return [
        each
        for each in probes.find_encoders(listing)
        if (device or not probes.needs_device(each))
        and programs.run(*probes.build_encode_argv(path, each, device))[0] == 0
    ]


def _find_gpus(programs: _Programs, nvidia_smi: str) -> list[str]:
    code, listed = programs.run(nvidia_smi, "-L") if nvidia_smi else (None, "")
    nvidia = probes.parse_nvidia_gpus(listed) if code == 0 else []
    return probes.name_gpus(find_drivers(find_render_devices()), nvidia)


def main() -> None:
    """Read {label: path} from stdin and print the results."""
    # The programs inherit this. At the lowest priority they would take minutes on a busy machine.
    os.nice(_NICE)
    print(json.dumps(run_probes(json.load(sys.stdin))))


if __name__ == "__main__":
    main()
