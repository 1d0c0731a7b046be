"""Record of the imported entries in the state directory, and copies of the files they are from."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from mythjobs.config import locks
from mythjobs.config.file_kinds import check_files
from mythjobs.config.files import replace_file
from mythjobs.errors import BadRequest, ConfigError
from mythjobs.takeover.entry import Place

_VERSION: Final = 1
HELD: Final = "held"
TAKEN: Final = "taken"


@dataclass(slots=True)
class ImportRecord:
    """One imported entry.

    name: of its command and its schedule. wanted: HELD if cron is to run it, TAKEN if the queue is;
    written before the change, so that an interrupted change is visible. root: the directory below
    which its place is. timer: the state to restore (`TimerState`), None for lines. switched_ms:
    when the last change began; nobody has run it since if that was interrupted.
    """

    place: Place
    name: str
    written: str
    text: str
    user: str
    root: str
    imported_ms: int
    wanted: str = HELD
    switched_ms: int = 0
    timer: dict[str, Any] | None = None

    @property
    def key(self) -> str:
        """Key in `ImportRecords.entries`."""
        return make_key(self.root, self.place)


@dataclass(slots=True)
class FileRecord:
    """Checksums (SHA-256) of a file with entries.

    original: before the first takeover. previous, written: before and after the last change, which
    an interruption may have prevented.
    """

    original: str
    previous: str
    written: str


@dataclass(slots=True)
class ImportRecords:
    """All records of a state directory. Changes are on disk after `save()`."""

    directory: Path
    entries: dict[str, ImportRecord] = field(default_factory=dict)
    files: dict[str, FileRecord] = field(default_factory=dict)

    @staticmethod
    def load(root: Path) -> ImportRecords:
        """Read the records of a state directory. Raises ConfigError, StateNotWritable."""
        records = ImportRecords(root / "import")
        check_files(records.directory)
        path = records._path
        try:
            stored = json.loads(path.read_bytes())
            if stored["version"] != _VERSION:
                raise ConfigError(f"{path} is of another version of mythjobs; use that version")
            for each in stored["entries"]:
                record = ImportRecord(**{**each, "place": Place(**each["place"])})
                records.entries[record.key] = record
            records.files = {key: FileRecord(**each) for key, each in stored["files"].items()}
        except FileNotFoundError:
            pass
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigError(f"cannot read {path}: {error!r}; restore it from a backup") from None
        return records

    @property
    def _path(self) -> Path:
        return self.directory / "entries.json"

    def lock(self) -> locks.Lock:
        """Keep other commands from changing entries at the same time. Raises BadRequest."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = locks.try_acquire(self.directory / "lock")
        if lock is None:
            raise BadRequest("another `mythjobs import` command is running; try again after it")
        return lock

    def save(self) -> None:
        text = json.dumps(
            {
                "version": _VERSION,
                "entries": [asdict(each) for each in self.entries.values()],
                "files": {key: asdict(each) for key, each in self.files.items()},
            },
            indent=1,
        )
        replace_file(self._path, text.encode())

    def keep_copy(self, data: bytes) -> str:
        """Keep a copy of a file's content, and return its checksum."""
        checksum = compute_checksum(data)
        path = self._copy_path(checksum)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        if not path.exists():
            replace_file(path, data)
        return checksum

    def read_copy(self, checksum: str) -> bytes:
        """Return the content with a checksum. Raises ConfigError if it is missing or damaged."""
        path = self._copy_path(checksum)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise ConfigError(f"cannot read the copy {path}: {error.strerror}") from None
        if compute_checksum(data) != checksum:
            raise ConfigError(f"the copy {path} is damaged; restore the file from a backup")
        return data

    def _copy_path(self, checksum: str) -> Path:
        return self.directory / "copies" / checksum


def make_key(root: str, place: Place) -> str:
    return f"{root}:{place.id}"


def compute_checksum(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
