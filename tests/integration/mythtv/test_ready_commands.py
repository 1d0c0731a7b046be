"""Commands of examples/mythtv as jobs of a real queue, with MythTV's database."""

import os
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mythjobs.mythtv.database import marks, recordings
from mythjobs.mythtv.database.connection import MythDatabase
from mythjobs.mythtv.writeback import changes
from tests.support.mythtv.bridge import remove_commands
from tests.support.running_queue import RunningQueue

EXAMPLES = Path(__file__).parents[3] / "examples" / "mythtv"
NAME = "1002_20261122170000"
Run = Callable[..., str]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed"),
]


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """The file of recording 5: 12 s with sound."""
    path = tmp_path / f"{NAME}.ts"
    subprocess.run(
        ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc=size=128x96:rate=25:duration=12",
         "-f", "lavfi", "-i", "sine=duration=12", "-c:v", "mpeg2video", "-c:a", "mp2", path],
        check=True,
    )  # fmt: skip
    return path


@pytest.fixture
def run_job(
    running_queue: RunningQueue, mythtv: MythDatabase, video: Path, tmp_path: Path
) -> Iterator[Run]:
    """Define a command of the examples, run it for recording 5, and return its output."""
    address = mythtv.address
    config = tmp_path / "config.xml"
    config.write_text(
        f"<Configuration><Database><Host>{address.socket}</Host><UserName>{address.user}</UserName>"
        f"<Password>{address.password}</Password><DatabaseName>{address.name}</DatabaseName>"
        "</Database></Configuration>"
    )
    programs = Path(sys.executable).parent
    client = running_queue.client

    def run(name: str, **arguments: Any) -> str:
        definition = tomllib.loads((EXAMPLES / f"{name}.toml").read_text())
        definition["env"] = {
            "PATH": f"{programs}:{os.environ['PATH']}", "MYTHCONFDIR": str(tmp_path),
        }  # fmt: skip
        # The run windows and labels are not what is tested.
        del definition["windows"]
        definition.pop("labels", None)
        client.post("commands", {"definition": definition, "replace": True})
        given = {"chanid": 1002, "starttime_utc": "20261122170000", "path": str(video)} | arguments
        known = {each["name"] for each in definition["parameters"]}
        job = client.post(
            "jobs",
            {
                "command": name,
                "arguments": {each: str(v) for each, v in given.items() if each in known},
            },
        )["id"]
        deadline_s = time.monotonic() + 90
        while (found := client.get(f"jobs/{job}"))["state"] in ("queued", "leased", "running"):
            assert time.monotonic() < deadline_s, found
            time.sleep(0.05)
        chunks: list[bytes] = []
        client.stream(f"jobs/{job}/output", {}, chunks.append)
        output = b"".join(chunks).decode()
        assert found["state"] == "succeeded", output
        return output

    yield run
    names = [each["name"] for each in client.get("commands")["commands"]]
    remove_commands(client, *(each for each in names if each != "run"))


@pytest.mark.parametrize("name, codec", [("h264-mythtv", "H264"), ("hevc-mythtv", "HEVC")])
def test_a_transcode_takes_the_recordings_place(
    run_job: Run, mythtv: MythDatabase, video: Path, name: str, codec: str
) -> None:
    run_job(name, recordedid=5, old="delete", quality=30)
    assert not video.exists()
    assert video.with_suffix(".mkv").is_file()
    row = recordings.read_row(mythtv, "recorded", 5) or {}
    assert (row["basename"], row["transcoded"]) == (f"{NAME}.mkv", 1)
    assert (recordings.read_row(mythtv, "recordedfile", 5) or {})["video_codec"] == codec
    assert sorted(each.name for each in video.parent.iterdir()) == [f"{NAME}.mkv", "config.xml"]


@pytest.mark.skipif(shutil.which("comskip") is None, reason="comskip is not installed")
def test_comskip_writes_to_the_recording(run_job: Run, mythtv: MythDatabase) -> None:
    state = changes.find_recording(mythtv, "5")
    old = marks.marks_of_ranges([(1, 2)], *marks.BREAK_TYPES)
    marks.replace_marks(mythtv, state.key, (), [marks.Mark(7, 2), *old])
    output = run_job("comskip-mythtv", recordedid=5)
    assert "recording 5 changed" in output
    row = recordings.read_row(mythtv, "recorded", 5) or {}
    assert row["commflagged"] == 1
    found = marks.read_marks(mythtv, state.key)
    assert marks.Mark(7, 2) in found
    assert not set(old) & set(found)


@pytest.mark.parametrize(
    "arguments, path",
    [
        (
            {"season": 2, "episode": 7, "subtitle": "Über: die/Alpen?"},
            "TV Shows/Große Reise/Season 02/Große Reise - s02e07 - Über- die-Alpen.ts",
        ),
        (
            {"originalairdate": "2019-03-01"},
            "TV Shows/Große Reise/Season 2019/Große Reise - 2019-03-01.ts",
        ),
        (
            {"subtitle": "Evening"},
            "TV Shows/Große Reise/Season 2026/Große Reise - 2026-07-15 - Evening.ts",
        ),
        (
            {"inetref": "tmdb3.py_387", "year": 1981, "title": "../$(id) `id`\n'x' \"y\""},
            "Movies/$(id) `id`-'x' -y (1981)/$(id) `id`-'x' -y (1981).ts",
        ),
    ],
)
def test_an_export_has_the_names_that_players_recognize(
    run_job: Run, video: Path, tmp_path: Path, arguments: dict[str, Any], path: str
) -> None:
    root = tmp_path / "media"
    given = {
        "recordedid": 5, "root": root, "title": "Große Reise", "subtitle": "", "inetref": "",
        "originalairdate": "", "starttime_iso": "2026-07-15T20:13:00", "season": 0, "episode": 0,
        "year": 0, "mode": "link",
    } | arguments  # fmt: skip
    run_job("export-tree", **given)
    found = [str(each.relative_to(root)) for each in root.rglob("*") if each.is_file()]
    assert found == [path]
    assert (root / path).samefile(video)
