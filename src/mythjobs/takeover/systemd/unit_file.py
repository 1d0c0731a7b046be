"""Parser of unit files: sections, continued lines, and drop-ins that add to or reset settings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

_TRUE: Final = ("1", "yes", "y", "true", "t", "on")
_FALSE: Final = ("0", "no", "n", "false", "f", "off")


@dataclass(slots=True)
class UnitFile:
    """Settings of a unit: (section, key) to the values assigned to it, in their order."""

    name: str
    settings: dict[tuple[str, str], list[str]] = field(default_factory=dict)

    def values(self, section: str, key: str) -> list[str]:
        """Return the values since the last empty assignment, which resets a list."""
        found = self.settings.get((section, key), [])
        resets = [at for at, value in enumerate(found) if not value]
        return found[resets[-1] + 1 :] if resets else found

    def value(self, section: str, key: str, default: str = "") -> str:
        """Return the last value."""
        found = self.values(section, key)
        return found[-1] if found else default

    def flag(self, section: str, key: str, *, default: bool = False) -> bool:
        """Return a boolean. Raises ValueError if it is none."""
        text = self.value(section, key).lower()
        if not text:
            return default
        if text not in _TRUE + _FALSE:
            raise ValueError(f"{key}={text} is not a boolean")
        return text in _TRUE

    def keys(self, section: str) -> list[str]:
        """Return the keys of a section that have a value, in the order of the file."""
        return [key for name, key in self.settings if name == section and self.values(section, key)]


def parse_unit(name: str, *texts: str) -> UnitFile:
    """Return the settings of a unit file and its drop-ins, which are given in their order.

    Lines that systemd ignores are ignored.
    """
    unit = UnitFile(name)
    for text in texts:
        section = ""
        for line in _join_lines(text):
            if line.startswith("["):
                section = line[1:-1] if line.endswith("]") else ""
                continue
            key, equals, value = line.partition("=")
            if equals and section:
                unit.settings.setdefault((section, key.rstrip()), []).append(value.strip())
    return unit


def _join_lines(text: str) -> Iterator[str]:
    """Yield lines without comments; a backslash at the end continues a line with a blank."""
    joined = ""
    for line in text.split("\n"):
        stripped = line.strip()
        # Comments between continued lines are ignored, too.
        if stripped.startswith(("#", ";")):
            continue
        if stripped.endswith("\\"):
            joined += f"{stripped[:-1]} "
            continue
        joined += stripped
        if joined:
            yield joined
        joined = ""
    if joined:
        yield joined
