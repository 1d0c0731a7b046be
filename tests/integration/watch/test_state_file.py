import json
from pathlib import Path

import pytest

from mythjobs.errors import ConfigError
from mythjobs.watch.file_tracker import FileState, KnownFile
from mythjobs.watch.state_file import read_state_file, write_state_file


def test_the_files_are_read_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "watch.json"
    assert read_state_file(path) is None
    known = {"/inbox/a b.ts": KnownFile(FileState(3, 4, 5), 6)}
    write_state_file(path, "/inbox", "look", known)
    assert read_state_file(path) == known


@pytest.mark.parametrize(
    "value",
    [
        "",
        "[]",
        "{}",
        json.dumps({"files": {"/inbox/a": [1, 2]}}),
        json.dumps({"files": {"/inbox/a": []}}),
        # A list has no items(): the watch ended with a traceback.
        json.dumps({"files": []}),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, value: str) -> None:
    path = tmp_path / "watch.json"
    path.write_text(value)
    with pytest.raises(ConfigError, match=f"cannot read {path}: .*; remove it to start again"):
        read_state_file(path)
