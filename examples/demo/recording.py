"""Generator of a recording with two commercial breaks, from test sources of ffmpeg."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple


class Part(NamedTuple):
    seconds: int
    tone_hz: int  # 0: the show


# Two breaks, of two and three advertisements of 15 seconds.
PARTS = (
    Part(45, 0),
    Part(15, 550),
    Part(15, 660),
    Part(40, 0),
    Part(15, 770),
    Part(15, 880),
    Part(15, 990),
    Part(30, 0),
)
SECONDS = sum(part.seconds for part in PARTS)
BREAKS = ((45.0, 75.0), (115.0, 160.0))

# Broadcasters put black, silent frames between show and advertisements.
_EDGE_S = 0.48


def make(target: Path, on_progress: Callable[[float], None]) -> None:
    """Write the recording. `on_progress` gets percentages. Raises RuntimeError if ffmpeg fails."""
    command = ["ffmpeg", "-nostdin", "-v", "error", "-y", "-progress", "pipe:1", *_arguments()]
    with subprocess.Popen([*command, target], stdout=subprocess.PIPE, text=True) as ffmpeg:
        assert ffmpeg.stdout is not None
        try:
            for line in ffmpeg.stdout:
                key, _, value = line.strip().partition("=")
                if key == "out_time_us" and value.isdigit():
                    on_progress(min(100.0, int(value) / 1e4 / SECONDS))
        except BaseException:
            ffmpeg.kill()
            raise
    if ffmpeg.returncode != 0:
        raise RuntimeError(f"cannot make the recording: ffmpeg exited with {ffmpeg.returncode}")


def _arguments() -> list[str]:
    graphs = [graph for number, part in enumerate(PARTS) for graph in _part(number, part)]
    pads = "".join(f"[v{number}][a{number}]" for number in range(len(PARTS)))
    joined = f"{pads}concat=n={len(PARTS)}:v=1:a=1[v][joined]"
    # An mp2 frame has 1152 samples; without asetnsamples, ffmpeg drops the rest at each join.
    return [
        *("-filter_complex", ";".join([*graphs, joined, "[joined]asetnsamples=n=1152:p=1[a]"])),
        *("-map", "[v]", "-map", "[a]"),
        *("-c:v", "mpeg2video", "-b:v", "4M", "-g", "12", "-bf", "2", "-pix_fmt", "yuv420p"),
        *("-flags", "+ildct+ilme", "-aspect", "16:9"),
        *("-c:a", "mp2", "-b:a", "192k", "-f", "mpegts"),
    ]


def _part(number: int, part: Part) -> tuple[str, str]:
    edge = f"enable='lt(t,{_EDGE_S})+gte(t,{part.seconds - _EDGE_S})'"
    picture = f"testsrc2=s=720x576:r=25:d={part.seconds}"
    if part.tone_hz:
        picture += ",scroll=h=0.02:v=0.01,hue=h='120*floor(t/3)'"
        sound = f"sine=f={part.tone_hz}:r=48000:d={part.seconds},volume=4"
    else:
        # Logo of the station, which advertisements do not have.
        picture += ",scroll=h=0.0005,drawbox=x=620:y=40:w=60:h=40:color=white:t=fill"
        sound = f"sine=f=220:r=48000:d={part.seconds},tremolo=f=2:d=0.6"
    picture += f",drawbox=color=black:t=fill:{edge},setfield=tff"
    return f"{picture}[v{number}]", f"{sound},volume=volume=0:{edge},aformat=cl=stereo[a{number}]"
