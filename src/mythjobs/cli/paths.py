"""Path arguments: conversion to absolute paths, and the current directory."""

from __future__ import annotations

import os

from mythjobs.errors import BadRequest


def absolute_path(path: str, directory: str) -> str:
    """Return the absolute path; an empty path is returned unchanged.

    `..` is kept, because after a symbolic link it means the parent of the link's target.
    """
    if not path:
        return path
    joined = os.path.join(directory, path)
    return joined if ".." in joined.split("/") else os.path.normpath(joined)


def resolve_path(path: str, kind: str) -> str:
    """Return the absolute path of a file or directory (the kind) that a user has named.

    Raises BadRequest if it is empty, as "$NAME" is in a script whose variable is not set.
    """
    if not path:
        raise BadRequest(f"the name of the {kind} is empty; give a path")
    try:
        return absolute_path(path, "/" if os.path.isabs(path) else get_current_directory())
    except FileNotFoundError:
        raise BadRequest("the current directory was removed; change to another one") from None


def resolve_path_argument(parameter: str, path: str, directory: str) -> str:
    """Return a path argument as an absolute path. Raises BadRequest if it is empty."""
    if not path:
        raise BadRequest(f'the parameter "{parameter}" is empty; it must be a path')
    return absolute_path(path, directory)


def is_utf8(path: str) -> bool:
    """Return whether the path is UTF-8 text."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def get_current_directory() -> str:
    """Return the current directory. Raises FileNotFoundError if it was removed."""
    return os.fsencode(os.getcwd()).decode("utf-8", "surrogateescape")
