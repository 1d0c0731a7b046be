"""Paths as the caller means them: relative to where the caller is."""

from __future__ import annotations

import os


def absolute(path: str, directory: str) -> str:
    """The path from the root. An empty one stays empty, for the master to refuse.

    `..` stays in it: behind a symbolic link it leads elsewhere than its text says.
    """
    if not path:
        return path
    joined = os.path.join(directory, path)
    return joined if ".." in joined.split("/") else os.path.normpath(joined)


def current_directory() -> str:
    """Raises FileNotFoundError where it was removed."""
    return os.fsencode(os.getcwd()).decode("utf-8", "surrogateescape")
