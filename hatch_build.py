"""Build hook: compiles the stub, the spawner and the appender (src/mythjobs/process/spawn/*.c) into
the wheel.

Without a C compiler, slower code in Python replaces them: stub_fallback.py and the spawn pool.
"""

import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SPAWN = Path("src/mythjobs/process/spawn")
# By file to create: its sources, and the options of the compiler, to be tried in this order.
# A static program starts twice as fast; dynamic if the C library has no static archive.
TARGETS = {
    "mythjobs-stub": (["stub.c"], [["-static"], []]),
    "mythjobs-spawner.so": (
        ["spawner.c", "child.c", "short_program.c", "appender.c"],
        [["-shared", "-fPIC", "-pthread"]],
    ),
}


class SpawnBuild(BuildHookInterface[Any]):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if self.target_name != "wheel":
            return
        compiler = shutil.which("cc") or shutil.which("gcc")
        if compiler is None:
            self.app.display_info("no C compiler found; slower code in Python replaces C")
        for name, (sources, choices) in TARGETS.items():
            target = Path(self.root) / SPAWN / name
            if compiler is None or not self._compile(compiler, sources, target, choices):
                target.unlink(missing_ok=True)
                continue
            build_data["pure_python"] = False
            # Any Python 3 on this platform.
            build_data["tag"] = f"py3-none-{sysconfig.get_platform().replace('-', '_')}"
            build_data["artifacts"].append(f"/{SPAWN}/{name}")

    def _compile(
        self, compiler: str, sources: list[str], target: Path, choices: list[list[str]]
    ) -> bool:
        paths = [target.parent / each for each in sources]
        for options in choices:
            done = subprocess.run(
                [compiler, "-O2", "-s", *options, "-o", target, *paths],
                capture_output=True,
                check=False,
            )
            if done.returncode == 0:
                return True
        warning = f"{compiler} cannot compile {target.name}; Python code replaces it"
        self.app.display_warning(warning)
        return False
