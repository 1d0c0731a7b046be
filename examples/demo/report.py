"""Report of the demo: jobs, commercial breaks and video, with checks of the results."""

import json
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

import recording
from mythjobs_cli import Queue

_BREAK_TOLERANCE_S = 1.0
_DURATION_TOLERANCE_S = 0.5


def print_report(queue: Queue, ids: Sequence[int], directory: Path) -> int:
    """Print the results. Return 1 after printing errors if any is wrong, else 0."""
    console = Console(highlight=False, soft_wrap=True)
    jobs = [queue.read("show", str(job_id)) for job_id in ids]
    console.print(_table(jobs))

    files = [directory / name for name in ("news.ts", "news.mp4", "news.jpg", "news.edl")]
    sizes = [f"{each.name} {_format_size(each.stat().st_size)}" for each in files if each.exists()]
    console.print("files   " + ", ".join(sizes))

    breaks = _breaks(directory / "news.edl")
    found = [f"{_format_time(start)} to {_format_time(end)}" for start, end in breaks]
    console.print("breaks  " + (", ".join(found) or "none"))

    video = _probe(directory / "news.mp4")
    console.print("video   " + (_describe(video) if video else "not readable by ffprobe"))

    errors = [
        *_check_jobs(queue, jobs),
        *_check_breaks(breaks),
        *_check_video(video, directory / "news.mp4"),
    ]
    for sentence in errors:
        console.print(f"error   {sentence}", style="red", markup=False)
    if not errors:
        console.print("ok      the video is complete and the breaks are found", style="green")
    return 1 if errors else 0


def _table(jobs: Sequence[dict[str, Any]]) -> Table:
    table = Table("job", "command", "state")
    for heading in ("duration", "CPU"):
        table.add_column(heading, justify="right")
    for job in jobs:
        # An attempt that was never started has no usage.
        usages = [each["usage"] for each in job["attempts"] if each["usage"]]
        wall_s = sum(usage["wall_s"] for usage in usages)
        cpu_s = sum(usage["user_s"] + usage["system_s"] for usage in usages)
        table.add_row(
            str(job["id"]), job["command"], job["state"], f"{wall_s:.1f} s", f"{cpu_s:.1f} s"
        )
    return table


def _breaks(edl: Path) -> list[tuple[float, float]]:
    """Parse an edit list, whose lines have start, end and 3 (a break)."""
    if not edl.exists():
        return []
    lines = (line.split() for line in edl.read_text().splitlines())
    return [(float(line[0]), float(line[1])) for line in lines if line[2:] == ["3"]]


def _probe(video: Path) -> dict[str, Any]:
    done = subprocess.run(
        ["ffprobe", "-v", "error", "-of", "json", "-show_format", "-show_streams", video],
        capture_output=True,
        check=False,
    )
    if done.returncode != 0:
        return {}
    probed = json.loads(done.stdout)
    streams = {each["codec_type"]: each for each in reversed(probed["streams"])}
    return {"duration_s": float(probed["format"]["duration"]), **streams}


def _describe(video: dict[str, Any]) -> str:
    picture, sound = video.get("video", {}), video.get("audio", {})
    return (
        f"{picture.get('codec_name')} {picture.get('profile')}, "
        f"{picture.get('width')}×{picture.get('height')} at {picture.get('avg_frame_rate')}, "
        f"{sound.get('codec_name')} {sound.get('sample_rate')} Hz, {video['duration_s']:.2f} s"
    )


def _check_jobs(queue: Queue, jobs: Sequence[dict[str, Any]]) -> Iterator[str]:
    for job in jobs:
        if job["state"] != "succeeded":
            why = (job["reason"] or {}).get("sentence", "reason unknown")
            yield f"job {job['id']} ({job['command']}) {job['state']}: {why}"
            if job["attempts"]:
                lines = queue.call("log", str(job["id"])).splitlines()
                yield from (f"    {line}" for line in lines[-5:])


def _check_breaks(breaks: Sequence[tuple[float, float]]) -> Iterator[str]:
    if len(breaks) != len(recording.BREAKS):
        yield f"found {len(breaks)} breaks instead of {len(recording.BREAKS)}"
        return
    for found, true in zip(breaks, recording.BREAKS, strict=True):
        if max(abs(found[0] - true[0]), abs(found[1] - true[1])) > _BREAK_TOLERANCE_S:
            yield f"the break at {_format_time(true[0])} was found at {_format_time(found[0])}"


def _check_video(video: dict[str, Any], path: Path) -> Iterator[str]:
    if video.get("video", {}).get("codec_name") != "h264":
        yield f"{path.name} is not an H.264 video"
        return
    if abs(video["duration_s"] - recording.SECONDS) > _DURATION_TOLERANCE_S:
        yield f"{path.name} lasts {video['duration_s']:.2f} s instead of {recording.SECONDS} s"
    # Decode all frames: a truncated file has valid headers.
    decode = ["ffmpeg", "-nostdin", "-v", "error", "-xerror", "-i", str(path), "-f", "null", "-"]
    done = subprocess.run(decode, capture_output=True, text=True, check=False)
    if done.returncode != 0 or done.stderr:
        yield f"{path.name} cannot be decoded: {done.stderr.strip()}"


def _format_time(seconds: float) -> str:
    return f"{int(seconds) // 60}:{seconds % 60:05.2f}"


def _format_size(size_bytes: int) -> str:
    if size_bytes < 10_000:
        return f"{size_bytes} bytes"
    return f"{size_bytes / 1e6:.1f} MB" if size_bytes >= 1e6 else f"{size_bytes / 1e3:.0f} kB"
