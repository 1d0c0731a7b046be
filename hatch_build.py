"""Compiles the stub (src/mythjobs/process/spawn/stub.c) while mythjobs is built or installed.

Without a C compiler nothing is lost but speed: stub_fallback.py does the same.
"""

import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

STUB = Path("src/mythjobs/process/spawn")


class StubBuild(BuildHookInterface[Any]):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if self.target_name != "wheel":
            return
        program = Path(self.root) / STUB / "mythjobs-stub"
        compiler = shutil.which("cc") or shutil.which("gcc")
        if compiler is None:
            program.unlink(missing_ok=True)
            self.app.display_info("no C compiler: children start through stub_fallback.py, slower")
            return
        source = program.parent / "stub.c"
        # Static, as it starts twice as fast; a C library without its archive links it otherwise.
        for how in (["-static"], []):
            made = subprocess.run(
                [compiler, "-O2", "-s", *how, "-o", program, source],
                capture_output=True,
                check=False,
            )
            if made.returncode == 0:
                break
        else:
            program.unlink(missing_ok=True)
            self.app.display_warning(
                f"{compiler} cannot compile stub.c; stub_fallback.py replaces it"
            )
            return
        build_data["pure_python"] = False
        # Any Python 3, this kind of machine.
        build_data["tag"] = f"py3-none-{sysconfig.get_platform().replace('-', '_')}"
        build_data["artifacts"].append(f"/{STUB}/mythjobs-stub")
