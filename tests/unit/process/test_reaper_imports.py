"""What a reaper loads: it stays in memory on every machine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import mythjobs

# Libraries of megabytes, modules that a reaper can do without, and MythSystem, which only users of
# the library need.
HEAVY = {
    "_hashlib", "_ssl", "asyncio", "pathlib", "shutil", "subprocess", "urllib",
    "mythjobs.process.library",
}  # fmt: skip


def test_a_reaper_loads_no_heavy_module() -> None:
    parent = str(Path(mythjobs.__file__).parents[1])
    code = (
        f"import sys; sys.path.insert(0, {parent!r}); import mythjobs.process.reaper.main; "
        "print(*sys.modules)"
    )
    found = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True
    )
    loaded = set(found.stdout.split())
    assert "mythjobs.process.supervise" in loaded
    assert loaded & HEAVY == set()
