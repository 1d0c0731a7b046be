"""The prober with real programs: what it finds, keeps, and probes again."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from mythjobs.agent.probing import probe_run, prober
from mythjobs.agent.probing.probe_cache import ProbeCache, find_targets
from mythjobs.agent.probing.prober import Prober
from mythjobs.protocol.scaling import MachineDescription

# Prints what `comskip --help` prints, and counts its runs.
COMSKIP = '#!/bin/sh\necho run >> "{log}"\necho "Comskip 0.82.011"\nexit {code}\n'
FFMPEG = """#!/bin/sh
case "$*" in
  -version) echo "ffmpeg version 7.1" ;;
  *-encoders) echo " V....D libx264  H.264"; echo " V....D h264_nvenc  NVENC" ;;
  *libx264*) exit 0 ;;
  *) exit 1 ;;
esac
"""


def write_program(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


def find_description(tmp_path: Path, path_variable: str) -> MachineDescription:
    """Run a prober until its first report."""

    async def run() -> MachineDescription:
        found: asyncio.Future[MachineDescription] = asyncio.get_running_loop().create_future()
        found_by = Prober(tmp_path / "probes.json", path_variable, found.set_result)
        running = asyncio.create_task(found_by.run(delay_s=0))
        try:
            async with asyncio.timeout(60):
                return await found
        finally:
            running.cancel()
            await asyncio.wait([running])

    return asyncio.run(run())


@pytest.mark.slow
def test_programs_are_run_once_and_again_when_they_have_changed(tmp_path: Path) -> None:
    programs, log = tmp_path / "bin", tmp_path / "log"
    programs.mkdir()
    path = f"{programs}:/bin:/usr/bin"
    comskip = write_program(programs / "comskip", COMSKIP.format(log=log, code=2))
    write_program(programs / "ffmpeg", FFMPEG)
    write_program(programs / "HandBrakeCLI", "#!/bin/sh\nexit 127\n")
    found = find_description(tmp_path, path)
    assert {"comskip", "ffmpeg", "ffmpeg:libx264"} <= set(found.labels)
    assert "ffmpeg:h264_nvenc" not in found.labels
    assert "handbrake" not in found.labels
    assert find_description(tmp_path, path) == found
    assert log.read_text() == "run\n"
    # A program that was replaced is run again, and does not start any more.
    write_program(comskip, COMSKIP.format(log=log, code=1))
    os.utime(comskip, ns=(1, 1))
    assert "comskip" not in find_description(tmp_path, path).labels
    assert log.read_text() == "run\nrun\n"


def test_a_program_that_is_gone_has_no_label_although_it_was_probed(tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    comskip = write_program(programs / "comskip", COMSKIP.format(log=tmp_path / "log", code=2))
    cache = ProbeCache(tmp_path / "probes.json")
    targets = {"comskip": find_targets(str(programs))["comskip"]}
    cache.add(targets, probe_run.run_probes({"comskip": str(comskip)}))
    again = ProbeCache(tmp_path / "probes.json")
    assert not again.find_missing(targets)
    assert again.list_labels(targets) == ["comskip"]
    comskip.unlink()
    assert again.list_labels(find_targets(str(programs))) == []


def test_a_damaged_cache_is_probed_again(tmp_path: Path) -> None:
    (tmp_path / "probes.json").write_text("[1]")
    cache = ProbeCache(tmp_path / "probes.json")
    write_program(tmp_path / "comskip", COMSKIP.format(log=tmp_path / "log", code=2))
    assert "comskip" in cache.find_missing(find_targets(str(tmp_path)))


def test_a_probe_that_cannot_start_does_not_end_the_agent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_program(tmp_path / "comskip", COMSKIP.format(log=tmp_path / "log", code=2))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "none"))

    async def run() -> None:
        warned = asyncio.Event()
        monkeypatch.setattr(prober.log, "warning", lambda *_: warned.set())
        found_by = Prober(tmp_path / "probes.json", str(tmp_path), lambda _: None)
        running = asyncio.create_task(found_by.run(delay_s=0))
        async with asyncio.timeout(60):
            await warned.wait()
        assert not running.done()
        running.cancel()

    asyncio.run(run())
