"""Results of probes, kept in a file with the versions of the programs that they ran."""

from __future__ import annotations

import json
import logging
import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from mythjobs.agent.probing import probes
from mythjobs.agent.probing.devices import describe_devices
from mythjobs.config import files

# A library or driver that a program uses may change without a change of the program.
_MAX_AGE_S: Final = 7 * 86_400.0
# A program took too long, because it hangs or because the machine was busy.
_MAX_UNCERTAIN_AGE_S: Final = 3600.0

log = logging.getLogger(__name__)


class ProbeTarget(NamedTuple):
    """Program of a probe, "" if the probe needs none, and a text that differs for each version."""

    path: str
    version: str


def find_targets(path_variable: str) -> dict[str, ProbeTarget]:
    """Return the probes that this machine needs, by label.

    path_variable: the PATH of jobs. A program that is not found is not probed.
    """
    devices = describe_devices()
    wanted = {each.label: each.program for each in probes.PROGRAM_PROBES}
    wanted[probes.GPU] = probes.NVIDIA
    found = {}
    for label, program in wanted.items():
        path = shutil.which(program, path=path_variable) or ""
        if not path and not (label == probes.GPU and devices):
            continue
        version = _describe_file(path)
        if label in probes.NEED_DEVICES:
            version = f"{version}; {devices}"
        found[label] = ProbeTarget(path, version)
    return found


def _describe_file(path: str) -> str:
    try:
        status = os.stat(path)
    except OSError:
        return ""
    return f"{path} {status.st_mtime_ns} {status.st_size}"


def _find_max_age_s(result: Mapping[str, Any]) -> float:
    return _MAX_AGE_S if result["is_certain"] else _MAX_UNCERTAIN_AGE_S


class ProbeCache:
    """Keeps results in a JSON file. A file that cannot be read or written costs only time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._results: dict[str, dict[str, Any]] = {}
        self._read_file()

    def find_missing(self, targets: Mapping[str, ProbeTarget]) -> dict[str, str]:
        """Return the paths of the programs without a current result, by label."""
        now_s = time.time()
        return {
            label: target.path
            for label, target in targets.items()
            if not (known := self._results.get(label))
            or known["version"] != target.version
            or not 0 <= now_s - known["at_s"] <= _find_max_age_s(known)
        }

    def add(self, targets: Mapping[str, ProbeTarget], results: Mapping[str, Any]) -> None:
        """Keep the results of probes, as printed by the probe process."""
        for label, found in results.items():
            self._results[label] = {
                "version": targets[label].version,
                "at_s": time.time(),
                "labels": list(found["labels"]),
                "gpus": list(found["gpus"]),
                "is_certain": bool(found["is_certain"]),
            }
        try:
            files.replace_file(self._path, json.dumps(self._results).encode())
        except OSError as error:
            log.warning(
                "cannot write %s: %s; the next agent probes again", self._path, error.strerror
            )

    def list_labels(self, targets: Mapping[str, ProbeTarget]) -> list[str]:
        """Return the labels of the programs that are still the ones that were probed."""
        return sorted({each for known in self._find_current(targets) for each in known["labels"]})

    def list_gpus(self, targets: Mapping[str, ProbeTarget]) -> list[str]:
        return [each for known in self._find_current(targets) for each in known["gpus"]]

    def _find_current(self, targets: Mapping[str, ProbeTarget]) -> list[dict[str, Any]]:
        return [
            known
            for label, target in targets.items()
            if (known := self._results.get(label)) and known["version"] == target.version
        ]

    def _read_file(self) -> None:
        try:
            found = json.loads(self._path.read_bytes())
            for label, each in found.items():
                self._results[label] = {
                    "version": str(each["version"]),
                    "at_s": float(each["at_s"]),
                    "labels": [str(name) for name in each["labels"]],
                    "gpus": [str(name) for name in each["gpus"]],
                    "is_certain": bool(each["is_certain"]),
                }
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning("cannot read %s: %s; probing again", self._path, error)
            self._results = {}
