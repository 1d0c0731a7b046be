"""Probes: short runs of programs that show what a machine can do, and the labels that they give."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

FFMPEG: Final = "ffmpeg"
GPU: Final = "gpu"
NVIDIA: Final = "nvidia-smi"
# Encoders of the processor that jobs may need; a build of ffmpeg may lack them.
_SOFTWARE_ENCODERS: Final = ("libx264", "libx265", "libsvtav1")
# Endings of the names of ffmpeg's encoders that use hardware, with the options before and after the
# input that each needs. `{device}` is the first render device.
_HARDWARE_OPTIONS: Final[dict[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "nvenc": ((), ("-pix_fmt", "yuv420p")),
    "vaapi": (("-vaapi_device", "{device}"), ("-vf", "format=nv12,hwupload")),
    "qsv": (("-init_hw_device", "qsv=hw,child_device={device}"), ("-vf", "format=nv12")),
    "amf": ((), ("-pix_fmt", "nv12")),
    "v4l2m2m": ((), ("-pix_fmt", "yuv420p")),
    "vulkan": (("-init_hw_device", "vulkan"), ("-vf", "format=nv12,hwupload")),
}
_CLIP: Final = "testsrc2=size=640x360:rate=25:duration=0.2"
_VIDEO_ENCODER: Final = re.compile(r"^ V\S{5} (\S+)", re.MULTILINE)
_MYTHTV: Final = r"MythTV Version"


class ProgramProbe(NamedTuple):
    """A program that gives a label if it runs: only a run shows that no library is missing.

    pattern: regular expression that matches the output of a successful run. codes: exit codes of
    one.
    """

    label: str
    program: str
    arguments: tuple[str, ...]
    pattern: str
    codes: frozenset[int] = frozenset({0})


PROGRAM_PROBES: Final = (
    ProgramProbe(FFMPEG, "ffmpeg", ("-version",), r"ffmpeg version"),
    # comskip exits with 2 after its help.
    ProgramProbe("comskip", "comskip", ("--help",), r"Comskip", frozenset({0, 2})),
    ProgramProbe("handbrake", "HandBrakeCLI", ("--version",), r"HandBrake"),
    ProgramProbe("mythcommflag", "mythcommflag", ("--version",), _MYTHTV),
    ProgramProbe("mythtranscode", "mythtranscode", ("--version",), _MYTHTV),
    ProgramProbe("mythfilldatabase", "mythfilldatabase", ("--version",), _MYTHTV),
)
# Labels whose probes also depend on the machine's devices.
NEED_DEVICES: Final = frozenset({FFMPEG, GPU})


def find_encoders(listing: str) -> list[str]:
    """Return the encoders to try, from the output of `ffmpeg -encoders`."""
    listed = _VIDEO_ENCODER.findall(listing)
    return [
        name
        for name in listed
        if name in _SOFTWARE_ENCODERS or name.rpartition("_")[2] in _HARDWARE_OPTIONS
    ]


def build_encode_argv(program: str, encoder: str, device: str) -> list[str]:
    """Return the command that encodes a generated clip of 0.2 s with an encoder.

    device: path of the first render device, "" if there is none.
    """
    before, after = _HARDWARE_OPTIONS.get(encoder.rpartition("_")[2], ((), ()))
    filled = [each.replace("{device}", device) for each in before]
    return [
        program, "-nostdin", "-hide_banner", "-v", "error", *filled,
        "-f", "lavfi", "-i", _CLIP, *after, "-c:v", encoder, "-f", "null", "-",
    ]  # fmt: skip


def needs_device(encoder: str) -> bool:
    """Return whether an encoder works only with a render device."""
    before, _ = _HARDWARE_OPTIONS.get(encoder.rpartition("_")[2], ((), ()))
    return any("{device}" in each for each in before)


def parse_nvidia_gpus(text: str) -> list[str]:
    """Return the GPUs' names from the output of `nvidia-smi -L`."""
    return re.findall(r"^GPU \d+: (.+?)(?: \(UUID|$)", text, re.MULTILINE)


def name_gpus(drivers: Sequence[str], nvidia: Sequence[str]) -> list[str]:
    """Return the GPUs for people. drivers: kernel drivers of the usable render devices."""
    others = [f"{each} (render device)" for each in drivers if each != "nvidia" or not nvidia]
    return [*nvidia, *others]
