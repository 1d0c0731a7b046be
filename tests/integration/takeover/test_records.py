import json
from pathlib import Path

import pytest

from mythjobs.errors import ConfigError
from mythjobs.takeover.records import ImportRecords


@pytest.mark.parametrize(
    "value",
    [
        "",
        "[]",
        "{}",
        json.dumps({"version": 1, "entries": [1], "files": {}}),
        # A list has no items(): the import ended with a traceback.
        json.dumps({"version": 1, "entries": [], "files": []}),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, value: str) -> None:
    path = tmp_path / "import" / "entries.json"
    path.parent.mkdir()
    path.write_text(value)
    with pytest.raises(ConfigError, match=f"cannot read {path}: .*; restore it from a backup"):
        ImportRecords.load(tmp_path)
