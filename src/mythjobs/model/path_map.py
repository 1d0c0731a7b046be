"""Path maps: where a machine has the files that other machines have under another path."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from mythjobs.errors import DefinitionError

_MAX_PATHS: Final = 100
_EXAMPLE: Final = 'like [paths] "/srv/tv" = "/mnt/nas/tv"'


def read_paths(value: object) -> dict[str, str]:
    """Parse a table [paths]: from the path that submitters use to the path on the machine.

    Raises DefinitionError.
    """
    if not isinstance(value, dict):
        raise DefinitionError("paths", f"must be a table, {_EXAMPLE}")
    if len(value) > _MAX_PATHS:
        raise DefinitionError("paths", f"has more than {_MAX_PATHS} paths")
    found = {}
    for path, here in value.items():
        if not isinstance(here, str):
            raise DefinitionError(f"paths.{path}", f"must be a path on the machine, {_EXAMPLE}")
        for each in (path, here):
            parts = each.split("/")[1:]
            if not each.startswith("/") or "\0" in each or {".", ".."} & set(parts):
                problem = f'"{each}" must be an absolute path without . and ..'
                raise DefinitionError("paths", f"{problem}, {_EXAMPLE}")
        if _trim(path) in found:
            raise DefinitionError("paths", f'"{path}" is given twice')
        found[_trim(path)] = _trim(here)
    return found


def _trim(path: str) -> str:
    return "/" + "/".join(each for each in path.split("/") if each)


def translate_path(path: str, paths: Mapping[str, str]) -> str:
    """Return where a machine with this map has a path: by the longest path of the map that it is
    below, as it is if there is none."""
    for prefix in sorted(paths, key=len, reverse=True):
        if is_below(path, prefix):
            rest = path[len(prefix) :].lstrip("/")
            here = paths[prefix].rstrip("/")
            return f"{here}/{rest}" if rest else here or "/"
    return path


def is_below(path: str, prefix: str) -> bool:
    """Return whether an absolute path is `prefix` or below it, by whole components."""
    return prefix == "/" or path == prefix or path.startswith(f"{prefix}/")
