"""Paths as the caller means them: relative to where the caller is."""

from __future__ import annotations

import os

from mythjobs.errors import BadRequest


def absolute_path(path: str, directory: str) -> str:
    """The path from the root. An empty one stays empty.

    `..` stays in it: behind a symbolic link it leads elsewhere than its text says.
    """
    if not path:
        return path
    joined = os.path.join(directory, path)
    return joined if ".." in joined.split("/") else os.path.normpath(joined)


def resolve_path_argument(parameter: str, path: str, directory: str) -> str:
    """An argument that is a path, from the root. Raises BadRequest for an empty one."""
    if not path:
        raise BadRequest(f'the parameter "{parameter}" is empty; it must be a path')
    return absolute_path(path, directory)


def is_utf8(path: str) -> bool:
    """Whether all of it is UTF-8."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def get_current_directory() -> str:
    """Raises FileNotFoundError where it was removed."""
    return os.fsencode(os.getcwd()).decode("utf-8", "surrogateescape")
