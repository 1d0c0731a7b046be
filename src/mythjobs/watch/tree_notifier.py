"""Notifications of changes in a directory tree: which of its directories are watched."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Final

from mythjobs.watch.directory_scan import LEFT_OUT, walk_directories
from mythjobs.watch.inotify import DirectoryNotifier

# Limits of inotify(7) for each user.
_TOO_MANY: Final = {
    errno.ENOSPC: "fs.inotify.max_user_watches", errno.EMFILE: "fs.inotify.max_user_instances",
}  # fmt: skip


class TreeNotifier:
    """Watches a directory and, if `is_recursive`, the directories below it.

    poll_s: time between scans where nothing notifies of changes; for the sentences that `note`
    gets about directories without notifications.
    """

    def __init__(
        self, directory: str, poll_s: float, note: Callable[[str], None], *, is_recursive: bool
    ) -> None:
        self._directory = directory
        self._poll_s = poll_s
        self._note = note
        self._is_recursive = is_recursive
        self._inotify: DirectoryNotifier | None = None
        # Whether the directory itself is watched, but not all directories below it.
        self._is_watched = False
        self._is_partial = False
        self._open()

    @property
    def is_complete(self) -> bool:
        """Whether all changes in the tree are notified."""
        return self._is_watched and not self._is_partial

    @property
    def fds(self) -> list[int]:
        """File descriptors that are readable when something has changed: one, or none."""
        return [] if self._inotify is None else [self._inotify.fd]

    def renew(self) -> None:
        """Watch the directory if it is another one of the same name than before.

        Call this before a scan: then a file that is written between the two is notified.
        """
        if self._inotify is None:
            return
        try:
            is_new = self._inotify.add(self._directory)
        except PermissionError:
            return  # the scan fails too, and reports it
        except OSError as error:
            if self._is_watched:
                self._note_failure(error)
            self._is_watched = False
            return
        self._is_watched = True
        if is_new:
            self._is_partial = False
            self._add_below(self._inotify, self._directory)

    def read_changes(self) -> None:
        """Read the pending notifications, and watch the directories that have appeared."""
        if self._inotify is None:
            return
        _, appeared, is_lost = self._inotify.read_changed()
        if self._is_recursive:
            # The scan leaves hidden directories out.
            found = sorted(each for each in appeared if not os.path.basename(each).startswith("."))
            for each in [self._directory] if is_lost else found:
                self._add_below(self._inotify, each)

    def close(self) -> None:
        if self._inotify is not None:
            self._inotify.close()

    def _open(self) -> None:
        inotify = None
        try:
            inotify = DirectoryNotifier()
            inotify.add(self._directory)
        except OSError as error:
            if inotify is not None:
                inotify.close()
            self._note_failure(error)
            return
        self._inotify = inotify
        self._is_watched = True
        self._add_below(inotify, self._directory)

    def _add_below(self, inotify: DirectoryNotifier, top: str) -> None:
        """Watch a directory and those below it. Directories that the scan leaves out stay
        unwatched; if another one cannot be watched, the tree must be read at intervals."""
        left_out: list[OSError] = []
        for each in walk_directories(top) if self._is_recursive else [top]:
            try:
                inotify.add(each)
            except OSError as error:
                if error.errno in LEFT_OUT:
                    left_out.append(error)
                    continue
                if not self._is_partial:
                    self._is_partial = True
                    self._note_failure(error)
                break
        if left_out:
            first, count = left_out[0], len(left_out)
            text = "is left out" if count == 1 else f"and {count - 1} more are left out"
            self._note(f"{first.filename} {text}: {first.strerror}")

    def _note_failure(self, error: OSError) -> None:
        why = error.strerror
        if error.errno in _TOO_MANY:
            why = f"too many watches, see sysctl {_TOO_MANY[error.errno]}"
        self._note(
            f"no notifications of changes ({why}): the directory is read every {self._poll_s:g} s"
        )
