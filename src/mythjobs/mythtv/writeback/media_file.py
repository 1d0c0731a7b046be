"""The new file of a recording: type, data from ffprobe, complete copy beside the old file."""

from __future__ import annotations

import errno
import json
import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mythjobs.errors import BadRequest, MythJobsError
from mythjobs.process import Exited, Limits, MythSystem

EXTENSIONS: Final = frozenset(
    {".ts", ".m2ts", ".mpg", ".mpeg", ".mkv", ".webm", ".mp4", ".m4v", ".mov", ".avi", ".nuv"}
)
_MAGIC: Final = (
    (0, b"NuppelVideo", ".nuv"),
    (0, b"MythTVVideo", ".nuv"),
    (0, b"\x1aE\xdf\xa3", ".mkv"),
    (4, b"ftyp", ".mp4"),
    (0, b"\x00\x00\x01\xba", ".mpg"),
    (8, b"AVI ", ".avi"),
    (0, b"G", ".ts"),
)
_CHUNK: Final = 16 << 20
_LEAST_BYTES: Final = 1000
_LEAST_FREE_BYTES: Final = 64 << 20
_PROBE_S: Final = 120
# A transcode may lose some frames at its ends.
_DIFFERENCE_S: Final = 5.0
_DIFFERENCE: Final = 0.02
# MythTV's names of containers and codecs (table recordedfile).
_CONTAINERS: Final = {
    ".ts": "MPEG2-TS", ".m2ts": "MPEG2-TS", ".mpg": "MPEG2-PS", ".mpeg": "MPEG2-PS",
    ".mkv": "Matroska", ".mp4": "MP4", ".m4v": "MP4", ".nuv": "NUV",
}  # fmt: skip


class FileNotSuitable(MythJobsError):
    """The new file cannot take the place of the recording's file."""

    code = "file_not_suitable"
    exit_code = 1


@dataclass(frozen=True)
class MediaInfo:
    """Data from ffprobe about a file. Missing numbers are 0, missing texts ""."""

    duration_s: float = 0.0
    width: int = 0
    height: int = 0
    fps: float = 0.0
    video: str = ""
    audio: str = ""


def is_file_name(name: object) -> bool:
    """Return whether a value from elsewhere is the name of a file in a directory, and no path that
    leads out of it."""
    return (
        isinstance(name, str)
        and name not in ("", ".", "..")
        and not any(each in name for each in "/\0")
    )


def find_extension(path: Path) -> str:
    """Return the extension for a file by its name or its first bytes. Raises BadRequest."""
    if path.suffix.lower() in EXTENSIONS:
        return path.suffix.lower()
    with path.open("rb") as file:
        head = file.read(16)
    for offset, magic, extension in _MAGIC:
        if head[offset : offset + len(magic)] == magic:
            return extension
    raise BadRequest(
        f"{path} is no kind of video file that is known; name it with its extension, like .mkv"
    )


def probe(path: Path) -> MediaInfo | None:
    """Return ffprobe's data about a file; None if ffprobe is not installed.

    Raises FileNotSuitable if ffprobe cannot read the file, or finds no video in it.
    """
    program = shutil.which("ffprobe")
    if program is None:
        return None
    fields = "stream=codec_type,codec_name,width,height,avg_frame_rate:format=duration"
    done = MythSystem(
        [program, "-v", "error", "-of", "json", "-show_entries", fields, str(path.absolute())],
        limits=Limits(wall_s=_PROBE_S),
    ).run()
    if done.outcome != Exited(0):
        why = done.stderr.tail().decode(errors="replace").strip().splitlines()[-1:]
        raise FileNotSuitable(f"ffprobe cannot read {path}: {''.join(why) or done.outcome}")
    found = json.loads(done.stdout.tail())
    video = _first(found, "video")
    if not video:
        raise FileNotSuitable(f"{path} has no video")
    return MediaInfo(
        duration_s=float(found.get("format", {}).get("duration") or 0.0),
        width=int(video.get("width") or 0),
        height=int(video.get("height") or 0),
        fps=_parse_rate(str(video.get("avg_frame_rate") or "")),
        video=str(video.get("codec_name") or ""),
        audio=str(_first(found, "audio").get("codec_name") or ""),
    )


def check_file(path: Path, old: Path, *, is_shorter: bool) -> MediaInfo | None:
    """Return what is known of the new file. Raises BadRequest, or FileNotSuitable if it is no video
    as long as the old one; with `is_shorter` its length may differ."""
    if not path.is_file():
        raise BadRequest(f"{path} is no file")
    if path.stat().st_size < _LEAST_BYTES:
        raise FileNotSuitable(f"{path} has only {path.stat().st_size} bytes; the recording stays")
    info = probe(path)
    if info is None or is_shorter:
        return info
    try:
        before = probe(old)
    except FileNotSuitable:
        return info  # the old file is damaged: any video is better
    assert before is not None
    difference_s = abs(before.duration_s - info.duration_s)
    if before.duration_s and difference_s > max(_DIFFERENCE_S, _DIFFERENCE * before.duration_s):
        raise FileNotSuitable(
            f"{path} lasts {info.duration_s:.0f} s, the recording {before.duration_s:.0f} s; the "
            "recording stays. If parts were cut out, use --drop-marks"
        )
    if before.fps and info.fps and abs(before.fps - info.fps) > 0.01 * before.fps:
        raise FileNotSuitable(
            f"{path} has {info.fps:g} frames per second, the recording {before.fps:g}: its marks "
            "would be at wrong frames; the recording stays. Remove the marks with --drop-marks"
        )
    return info


def describe_file(extension: str, size_bytes: int, info: MediaInfo | None) -> dict[str, Any]:
    """Return the columns of `recordedfile` that are known of the new file."""
    columns: dict[str, Any] = {"filesize": size_bytes}
    if extension in _CONTAINERS:
        columns["container"] = _CONTAINERS[extension]
    if info is not None:
        columns |= {
            "width": info.width, "height": info.height, "fps": round(info.fps, 3),
            "video_codec": info.video.upper(), "audio_codec": info.audio.upper(),
        }  # fmt: skip
    return columns


def place_copy(source: Path, part: Path, like: Path) -> None:
    """Let `part` be the content of `source`, complete and on the disk: a hard link, or a copy if
    they are on different file systems or `source` is a symbolic link. The mode, and if permitted
    the owner, are those of `like`.

    Raises BadRequest if the disk is full.
    """
    part.unlink(missing_ok=True)
    is_linked = False
    # link(2) would make another symbolic link of one.
    if not source.is_symlink():
        with suppress(OSError):
            os.link(source, part)
            is_linked = True
    if not is_linked:
        _copy(source, part)
    before = like.stat()
    os.chmod(part, before.st_mode & 0o777)
    with suppress(PermissionError):
        os.chown(part, before.st_uid, before.st_gid)
    fd = os.open(part, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _copy(source: Path, part: Path) -> None:
    size = source.stat().st_size
    free = shutil.disk_usage(part.parent).free
    if free < size + _LEAST_FREE_BYTES:
        raise BadRequest(
            f"{part.parent} has {free >> 20} MiB of free space, and {source} needs {size >> 20} "
            "MiB; make room, then repeat the command"
        )
    try:
        with source.open("rb") as old, part.open("wb") as new:
            while chunk := old.read(_CHUNK):
                new.write(chunk)
    except OSError as error:
        part.unlink(missing_ok=True)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise BadRequest(f"{part.parent} is full; make room, then repeat") from None
        raise BadRequest(f"cannot copy {source} to {part}: {error.strerror}") from None


def _first(found: dict[str, Any], kind: str) -> dict[str, Any]:
    return next((each for each in found.get("streams", []) if each.get("codec_type") == kind), {})


def _parse_rate(text: str) -> float:
    above, _, below = text.partition("/")
    try:
        return float(above) / float(below or 1)
    except (ValueError, ZeroDivisionError):
        return 0.0
