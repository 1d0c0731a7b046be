"""Files of the bridge: what survives a restart, and the status that `mythtv status` shows."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from mythjobs.config import files
from mythjobs.config.os_errors import is_disk_error
from mythjobs.errors import ConfigError
from mythjobs.mythtv.bridge.table import RowJob
from mythjobs.mythtv.bridge.watch import WatchProgress
from mythjobs.mythtv.settings import BridgeDir

log = logging.getLogger(__name__)
_MAX_PROBLEMS: Final = 50


def load_progress(directory: BridgeDir, now_ms: int) -> WatchProgress:
    """Return until when recordings were examined; without a file, from now on.

    Raises ConfigError.
    """
    found = _read(directory.recordings)
    if not found:
        progress = WatchProgress(now_ms, now_ms)
        save_progress(directory, progress)
        return progress
    try:
        return WatchProgress(
            int(found["since_ms"]),
            int(found["caught_up_ms"]),
            {str(k): int(v) for k, v in found["examined"].items()},
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        raise _damaged(directory.recordings) from None


def save_progress(directory: BridgeDir, progress: WatchProgress) -> None:
    _write(directory.recordings, vars(progress))


def load_row_jobs(directory: BridgeDir) -> dict[int, RowJob]:
    """Return the jobs of rows by the row's id. Raises ConfigError."""
    try:
        return {int(k): RowJob(**v) for k, v in _read(directory.rows).items()}
    except (TypeError, ValueError):
        raise _damaged(directory.rows) from None


def save_row_jobs(directory: BridgeDir, jobs: Mapping[int, RowJob]) -> None:
    _write(directory.rows, {str(k): vars(v) for k, v in jobs.items()})


class StatusFile:
    """The bridge's status, written whenever it changes. For any number of threads."""

    def __init__(self, directory: BridgeDir, **first: Any) -> None:
        self._path = directory.status
        self._lock = threading.Lock()
        self._is_unsaved = False
        self._status: dict[str, Any] = {"problems": [], **first}

    def update(self, **changes: Any) -> None:
        with self._lock:
            if all(self._status.get(k) == v for k, v in changes.items()):
                return
            self._status.update(changes)
            self._save()

    def add_problem(self, subject: str, sentence: str, now_ms: int) -> bool:
        """Keep a problem that a user must solve; a later one of the same subject replaces it.

        Return False if it is kept already: what is repeated is logged once.
        """
        with self._lock:
            problems = self._status["problems"]
            if any((p["subject"], p["sentence"]) == (subject, sentence) for p in problems):
                return False
            kept = [each for each in problems if each["subject"] != subject]
            problem = {"subject": subject, "sentence": sentence, "at_ms": now_ms}
            self._status["problems"] = [*kept, problem][-_MAX_PROBLEMS:]
            self._save()
            return True

    def solve_problem(self, subject: str) -> None:
        with self._lock:
            kept = [each for each in self._status["problems"] if each["subject"] != subject]
            if len(kept) < len(self._status["problems"]):
                self._status["problems"] = kept
                self._save()

    def count(self, name: str) -> None:
        with self._lock:
            self._status[name] = self._status.get(name, 0) + 1
            self._save()

    def _save(self) -> None:
        # No fsync: the file is about the running bridge only.
        temporary = self._path.with_suffix(".new")
        try:
            with open(temporary, "wb", opener=files.open_private) as file:
                file.write(json.dumps(self._status).encode())
        except OSError as error:
            if not is_disk_error(error):
                raise
            # The bridge works without the file; the next change is written with this one.
            if not self._is_unsaved:
                log.warning("cannot write %s: %s", self._path, error.strerror)
            self._is_unsaved = True
            return
        self._is_unsaved = False
        temporary.replace(self._path)


def read_status(directory: BridgeDir) -> dict[str, Any]:
    """Return the status that the last bridge wrote, empty without one."""
    try:
        return _read(directory.status)
    except ConfigError:
        return {}


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from None
    if not isinstance(found, dict):
        raise _damaged(path)
    return found


def _write(path: Path, content: Mapping[str, Any]) -> None:
    files.replace_file(path, json.dumps(content).encode())


def _damaged(path: Path) -> ConfigError:
    return ConfigError(
        f"{path} is damaged; move it away: the bridge then begins with recordings that end from now"
    )
