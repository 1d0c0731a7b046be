"""Results that jobs of a watch write into its directory, and that would become jobs without end."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from mythjobs.client.client import Client
from mythjobs.errors import NoSuchJob
from mythjobs.watch.file_tracker import KnownFile

# Most jobs in a row of which each is about a result of the one before. The first results get jobs,
# as they may be files from elsewhere with a similar name; this many are not a coincidence.
MAX_GENERATION: Final = 2
# After these a result's name differs from its source's, as in film.mp4, film.ts.jpg, film-hd.ts.
_SEPARATORS: Final = (".", "-", "_", " ")
_SLACK_MS: Final = 1000


class OwnResult(NamedTuple):
    """A file that was written while `job`, about the file `origin`, ran.

    generation: 1 if `origin` came from elsewhere, 2 if that is a result itself, and so on.
    """

    origin: str
    job: int
    generation: int


class OwnResults:
    """Finds results among the new files. is_first: the one found last is the first."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._origins: Origins | None = None
        self._generations: dict[str, int] = {}
        self.is_first = False

    def find(self, path: str, changed_ms: int, known: Mapping[str, KnownFile]) -> OwnResult | None:
        """Return of which job a file is probably a result; None if it seems to be of none.

        Raises Unreachable.
        """
        if self._origins is None:
            self._origins = Origins(known)
        origin = self._origins.find(path, known)
        self._origins.add(path)
        if origin is None:
            return None
        number = known[origin].job
        try:
            job = self._client.get(f"jobs/{number}")
        except NoSuchJob:
            return None
        if not was_written_meanwhile(changed_ms, job["started_ms"], job["ended_ms"]):
            return None
        self.is_first = not self._generations
        generation = self._generations.get(origin, 0) + 1
        self._generations[path] = generation
        return OwnResult(origin, number, generation)


class Origins:
    """Files by their path without suffix, so that a search does not read the names of all files:
    a directory may have 100,000."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._by_stem: dict[str, list[str]] = {}
        for each in paths:
            self.add(each)

    def add(self, path: str) -> None:
        paths = self._by_stem.setdefault(os.path.splitext(path)[0], [])
        if path not in paths:
            paths.append(path)

    def find(self, path: str, known: Mapping[str, KnownFile]) -> str | None:
        """Return the handled file of which `path` may be a result by its name, None if there is
        none. Of several, the one with the longest name."""
        stems = [path[:end] for end, letter in enumerate(path) if letter in _SEPARATORS]
        found = [
            each
            for stem in stems
            for each in self._by_stem.get(stem, ())
            if each != path and each in known and known[each].job
        ]
        return max(found, key=len, default=None)


def was_written_meanwhile(changed_ms: int, started_ms: int | None, ended_ms: int | None) -> bool:
    """Return whether a file's last change was while a job ran. ended_ms: None if it still runs."""
    if started_ms is None or changed_ms < started_ms - _SLACK_MS:
        return False
    return ended_ms is None or changed_ms <= ended_ms + _SLACK_MS
