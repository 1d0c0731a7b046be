"""Render devices of this machine's GPUs."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from typing import Final

_PATTERNS: Final = ("/dev/dri/render*", "/dev/nvidia[0-9]*", "/dev/video[0-9]*")


def find_render_devices() -> list[str]:
    """Return the paths of the render devices that this user may use."""
    return [each for each in sorted(glob.glob(_PATTERNS[0])) if os.access(each, os.R_OK | os.W_OK)]


def find_drivers(devices: Sequence[str]) -> list[str]:
    """Return the names of the kernel drivers of render devices, such as `i915`."""
    found = []
    for each in devices:
        link = f"/sys/class/drm/{os.path.basename(each)}/device/driver"
        found.append(os.path.basename(os.path.realpath(link)) if os.path.exists(link) else "gpu")
    return found


def describe_devices() -> str:
    """Return a text that changes when a device that programs encode with appears, vanishes, or can
    be used by this user for the first time."""
    found = []
    for pattern in _PATTERNS:
        for path in sorted(glob.glob(pattern)):
            can_use = os.access(path, os.R_OK | os.W_OK)
            found.append(f"{path}{'' if can_use else ' refused'}")
    return ", ".join(found)
