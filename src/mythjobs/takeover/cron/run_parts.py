"""run-parts: entries that run all programs of a directory, and which of its files these are."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

_CALL: Final = re.compile(r"\brun-parts\s+(?:-\S+\s+)*(/[^\s;&|)}]+)")
# Names that run-parts of Debian accepts without --lsbsysinit and --regex.
_DEBIAN_NAME: Final = re.compile(r"[A-Za-z0-9_-]+")
# The run-parts of cronie ignores these endings.
_IGNORED_ENDINGS: Final = ("~", ",", ".rpmsave", ".rpmorig", ".rpmnew", ".swp", ",v", ".cfsaved")


class DirectoryFile(NamedTuple):
    """A file in a directory of run-parts."""

    name: str
    is_executable: bool


def find_directory(text: str) -> str:
    """Return the directory that shell text passes to run-parts, or ""."""
    found = _CALL.search(text)
    return found[1].rstrip("/") if found else ""


def find_ignored(files: Sequence[DirectoryFile], *, is_cronie: bool) -> Mapping[str, str]:
    """Return the names of the files that run-parts ignores, with the reason."""
    ignored = {}
    for each in files:
        if is_cronie and each.name.endswith(_IGNORED_ENDINGS):
            ignored[each.name] = "run-parts ignores files with this ending"
        elif not is_cronie and not _DEBIAN_NAME.fullmatch(each.name):
            ignored[each.name] = "run-parts ignores names with other characters than a-z 0-9 _ -"
        elif not each.is_executable:
            ignored[each.name] = "run-parts ignores it, because it is not executable"
    return ignored
