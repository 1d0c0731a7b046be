"""State file of a watch: the files that were handled, and their jobs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from mythjobs.config.files import replace_file
from mythjobs.errors import ConfigError
from mythjobs.watch.file_tracker import FileState, KnownFile


def read_state_file(path: Path) -> dict[str, KnownFile] | None:
    """Return the handled files by their paths, or None if the state file does not exist.

    Raises ConfigError if it cannot be read or is damaged.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        return {
            file: KnownFile(FileState(*state), job)
            for file, (*state, job) in value["files"].items()
        }
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ConfigError(
            f"cannot read {path}: {error}; remove it to start again (jobs are not repeated as long "
            "as the queue keeps them)"
        ) from None


def write_state_file(
    path: Path, directory: str, command: str, known: Mapping[str, KnownFile]
) -> None:
    """Replace the state file of the watch of a directory for a command. Raises OSError."""
    files = {file: [*each.state, each.job] for file, each in known.items()}
    value = {"directory": directory, "command": command, "files": files}
    replace_file(path, json.dumps(value).encode())
