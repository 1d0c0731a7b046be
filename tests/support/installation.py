"""Wheels of the source tree with other version numbers, and environments to install them in."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path
from typing import Final

SOURCE: Final = Path(__file__).parents[2]
# What the wheel is built from.
_FILES: Final = ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE")


def unpack_wheel(directory: Path, version: str) -> Path:
    """Build the wheel of a copy of the source tree with this version, below a new directory.

    Return a directory with its files as an installer leaves them: with their modes, and compiled.
    """
    shutil.copytree(SOURCE / "src", directory / "src", ignore=shutil.ignore_patterns("*.pyc"))
    for name in _FILES:
        shutil.copy(SOURCE / name, directory)
    module = directory / "src" / "mythjobs" / "__init__.py"
    pattern, line = r'(?m)^__version__ = ".*"$', f'__version__ = "{version}"'
    text, count = re.subn(pattern, line, module.read_text())
    assert count == 1, text
    module.write_text(text)
    _run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", "dist", cwd=directory)
    [wheel] = (directory / "dist").iterdir()
    unpacked = directory / "unpacked"
    with zipfile.ZipFile(wheel) as archive:
        for each in archive.infolist():
            os.chmod(archive.extract(each, unpacked), each.external_attr >> 16 & 0o777)
    _run(sys.executable, "-m", "compileall", "-q", str(unpacked))
    return unpacked


class Installation:
    """A virtual environment without mythjobs. It sees the packages of the tests' environment, but
    not the source tree, which is installed there as a path that only its own site.py reads."""

    def __init__(self, root: Path) -> None:
        venv.EnvBuilder(symlinks=True).create(root)
        paths = {"base": str(root), "platbase": str(root)}
        self._packages = Path(sysconfig.get_path("purelib", "venv", vars=paths))
        self.program = (str(root / "bin" / "python"), "-m", "mythjobs")

    def install(self, unpacked: Path) -> None:
        shutil.copytree(unpacked, self._packages, dirs_exist_ok=True)
        (self._packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")

    def uninstall(self) -> None:
        """Delete all packages; a program that runs may write byte code meanwhile."""
        shutil.rmtree(self._packages, ignore_errors=True)


def _run(*command: str, cwd: Path | None = None) -> None:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (command, done.stdout, done.stderr)
