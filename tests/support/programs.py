"""Directory with a few programs, as a PATH on which an agent finds none that it would probe.

Probing encoders takes two seconds of CPU time for each new state directory.
"""

from __future__ import annotations

import shutil
from pathlib import Path


def link_programs(directory: Path, *names: str) -> str:
    """Make a directory with links to these programs, and return its path."""
    directory.mkdir()
    for name in names:
        found = shutil.which(name)
        assert found is not None, f"{name} is not installed"
        (directory / name).symlink_to(found)
    return str(directory)
