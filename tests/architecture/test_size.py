"""Length of source files."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("src", "tests", "bench", "scripts", "examples")
LONGEST = 400


def sources() -> list[Path]:
    texts = (".py", ".toml", ".js", ".css", ".html", ".c", ".sh", "")
    return [
        path
        for folder in FOLDERS
        for path in sorted((ROOT / folder).rglob("*"))
        if path.is_file()
        and path.suffix in texts
        and "__pycache__" not in path.parts
        and path.name not in ("mythjobs-stub", "mythjobs-spawner.so")  # compiled
    ]


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_is_over_400_lines(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= LONGEST, f"{path.relative_to(ROOT)} has {lines} lines: split it"
