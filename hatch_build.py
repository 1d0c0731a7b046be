"""Build hook: compiles the stub (src/mythjobs/process/spawn/stub.c) into the wheel.

Without a C compiler, the slower stub_fallback.py replaces the stub.
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
            self.app.display_info("no C compiler found; the slower stub_fallback.py replaces it")
            return
        source = program.parent / "stub.c"
        # A static program starts twice as fast; dynamic if the C library has no static archive.
        for options in (["-static"], []):
            done = subprocess.run(
                [compiler, "-O2", "-s", *options, "-o", program, source],
                capture_output=True,
                check=False,
            )
            if done.returncode == 0:
                break
        else:
            program.unlink(missing_ok=True)
            self.app.display_warning(
                f"{compiler} cannot compile stub.c; stub_fallback.py replaces it"
            )
            return
        build_data["pure_python"] = False
        # Any Python 3 on this platform.
        build_data["tag"] = f"py3-none-{sysconfig.get_platform().replace('-', '_')}"
        build_data["artifacts"].append(f"/{STUB}/mythjobs-stub")
