"""Watch of a directory: submits a job for each new file, until stop() is called."""

from __future__ import annotations

import errno
import hashlib
import os
import select
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

from mythjobs.client.client import Client
from mythjobs.errors import (
    BadRequest,
    MythJobsError,
    NoSuchCommand,
    NoSuchJob,
    StoreFull,
    Unreachable,
)
from mythjobs.watch.directory_scan import (
    FileFilter,
    find_remote_file_system,
    is_being_written,
    scan_files,
)
from mythjobs.watch.file_tracker import FileState, FileTracker, Rate, is_own_change
from mythjobs.watch.own_results import MAX_GENERATION, OwnResults
from mythjobs.watch.state_file import read_state_file, write_state_file
from mythjobs.watch.tree_notifier import TreeNotifier

# With notifications, a scan is only for what they miss.
_SAFETY_SCAN_S: Final = 300.0
# Changes that come together are read by one scan; a long scan makes room for other work.
_GATHER_S: Final = 0.2
_SCAN_SHARE: Final = 10
_MAX_KNOWN: Final = 200_000
# Errors that are not the file's: it is submitted again.
_TEMPORARY: Final = (Unreachable, StoreFull, NoSuchCommand)
_FINAL: Final = ("succeeded", "failed", "cancelled")


class WatchEvent(NamedTuple):
    """What a watch did. kind: `submitted`, `known` (a job for this content exists), `refused`,
    `waiting` (the master cannot take jobs), `connected`, `note`."""

    kind: str
    sentence: str
    path: str = ""
    job: int = 0


@dataclass(frozen=True)
class WatchOptions:
    """directory: absolute. parameter: of the command, which gets the path. subject: "" if the
    command has a subject of its own. poll_s: time between scans without notifications."""

    directory: str
    command: str
    parameter: str
    has_subject: bool
    arguments: Mapping[str, str] = field(default_factory=dict)
    accepted: FileFilter = field(default_factory=FileFilter)
    settle_s: float = 10.0
    poll_s: float = 30.0
    rate: Rate | None = None
    priority: int = 0
    is_once: bool = False
    includes_present: bool = False


class DirectoryWatch:
    """state: file with the handled files. report: gets what the watch does."""

    def __init__(
        self,
        options: WatchOptions,
        client: Client,
        state: Path,
        report: Callable[[WatchEvent], None],
    ) -> None:
        self._options = options
        self._client = client
        self._state = state
        self._report = report
        self._tracker = FileTracker(options.settle_s, options.rate)
        self._results = OwnResults(client)
        self._remote = ""
        self._device = 0
        self._is_away = False
        self._is_changed = False
        self._is_unsaved = False
        self._scan_s = 0.0
        self._wake_reader, self._wake_writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._stopping = False
        self.submitted = 0
        self.refused = 0

    def stop(self) -> None:
        """Let `run()` return soon. May be called by a signal handler."""
        self._stopping = True
        try:
            os.write(self._wake_writer, b"x")
        except BlockingIOError:
            pass

    def run(self) -> None:
        """Watch until `stop()`, or, with `is_once`, until every present file is handled.

        The process must ignore SIGIO: it is sent if a program opens a file for writing while
        is_being_written() looks at it. Raises BadRequest if the directory cannot be read,
        ConfigError for a damaged state file.
        """
        try:
            self._remote = find_remote_file_system(self._options.directory)
            self._device = os.stat(self._options.directory).st_dev
            os.scandir(self._options.directory).close()
        except OSError as error:
            raise BadRequest(f"cannot watch {error.filename}: {error.strerror}") from None
        is_first = not self._load()
        notifier = self._open_notifier()
        try:
            self._scan()
            if is_first and not self._options.includes_present and not self._options.is_once:
                self._take_present()
            while not self._stopping:
                if not self._is_away:
                    # Otherwise the files would count as handled by jobs that cannot read them.
                    self._submit_due()
                if self._options.is_once and not self._tracker.has_candidates():
                    break
                self._wait(notifier)
                if notifier is not None:
                    notifier.renew()
                self._scan()
        finally:
            self._save()
            if notifier is not None:
                notifier.close()

    def _take_present(self) -> None:
        if count := self._tracker.accept_present():
            self._is_changed = True
            text = "1 file is" if count == 1 else f"{count} files are"
            self._note(f"{text} there already; --existing submits jobs for them too")

    def _open_notifier(self) -> TreeNotifier | None:
        """Return the notifier of the directory; None if it is read once or at intervals."""
        options = self._options
        if options.is_once:
            return None
        if self._remote:
            self._note(
                f"{options.directory} is on {self._remote}, which does not notify of changes: it "
                f"is read every {options.poll_s:g} s"
            )
            return None
        return TreeNotifier(
            options.directory, options.poll_s, self._note,
            is_recursive=options.accepted.is_recursive,
        )  # fmt: skip

    def _note(self, sentence: str) -> None:
        self._report(WatchEvent("note", sentence))

    def _wait(self, notifier: TreeNotifier | None) -> None:
        """Wait for a change, for a file to be due, or for the next scan."""
        now_s = time.monotonic()
        is_notified = notifier is not None and notifier.is_complete and not self._is_away
        until_s = now_s + (_SAFETY_SCAN_S if is_notified else self._options.poll_s)
        if not self._is_away and (next_s := self._tracker.next_s(now_s)) is not None:
            until_s = min(until_s, max(next_s, now_s + _GATHER_S))
        fds = [] if notifier is None else notifier.fds
        ready, _, _ = select.select([self._wake_reader, *fds], [], [], max(0.0, until_s - now_s))
        if notifier is None or not set(fds).intersection(ready) or self._stopping:
            return
        # Collect the changes of the next moment for one scan; of a longer one if scans take long.
        delay_s = max(_GATHER_S, _SCAN_SHARE * self._scan_s)
        select.select([self._wake_reader], [], [], delay_s)
        notifier.read_changes()

    def _scan(self) -> None:
        began_s = time.monotonic()
        try:
            # Another device: the disk is not mounted, and the empty mount point is not the watched
            # directory.
            if os.stat(self._options.directory).st_dev != self._device:
                raise FileNotFoundError(errno.ENOENT, "another file system is mounted")
            found = scan_files(
                self._options.directory, self._options.accepted, has_inodes=not self._remote
            )
        except OSError as error:
            if not self._is_away:
                self._is_away = True
                self._report(
                    WatchEvent(
                        "waiting",
                        f"cannot read {self._options.directory}: {error.strerror}; waiting for it",
                    )
                )
            return
        if self._is_away:
            self._is_away = False
            self._note(f"{self._options.directory} is there again")
        now_s = time.monotonic()
        self._scan_s = now_s - began_s
        self._tracker.observe(found, now_s)

    def _submit_due(self) -> None:
        for path in self._tracker.list_due(time.monotonic()):
            if self._stopping:
                break
            now_s = time.monotonic()
            if not self._remote and is_being_written(path):
                self._tracker.touch(path, now_s)
                continue
            try:
                self._handle(path, self._tracker.state_of(path), now_s)
            except _TEMPORARY as error:
                if self._tracker.defer(time.monotonic()):
                    self._report(WatchEvent("waiting", f"{error.sentence}; trying again"))
                break
        self._save()

    def _handle(self, path: str, state: FileState, now_s: float) -> None:
        self._is_changed = True
        known = self._tracker.known.get(path)
        if known is not None and known.job:
            is_own = self._find_own_change(known.job, state)
            if is_own is None:
                self._tracker.touch(path, now_s)  # its job runs, and may still write to it
                return
            if is_own:
                self._tracker.accept(path, known.job, now_s, counts=False)
                return
        try:
            self._check_result(path, state)
            done = self._client.post("jobs", self._make_body(path, state))
        except _TEMPORARY:
            raise
        except MythJobsError as error:
            self.refused += 1
            self._report(WatchEvent("refused", f"no job for {path}: {error.sentence}", path))
            self._tracker.accept(path, 0, now_s)
            return
        job = int(done["id"])
        self._tracker.accept(path, job, now_s, counts=bool(done["new"]))
        if done["new"]:
            self.submitted += 1
            self._report(WatchEvent("submitted", f"job {job}: {path}", path, job))
        else:
            self._report(WatchEvent("known", f"job {job} exists already: {path}", path, job))

    def _check_result(self, path: str, state: FileState) -> None:
        """Tell the user if a job of this watch wrote the file. Raises BadRequest for a result of
        results, of which there would be no end."""
        found = self._results.find(path, state.mtime_ns // 1_000_000, self._tracker.known)
        if found is None:
            return
        remedy = f"exclude such files (--exclude '*{Path(path).suffix}'), or let the command write"
        if found.generation > MAX_GENERATION:
            raise BadRequest(
                f"job {found.job} wrote it, about a file that is a result of this watch itself; "
                f"{remedy} into another directory"
            )
        if self._results.is_first:
            self._note(
                f"{path} was written while job {found.job} about {found.origin} ran; if it is a "
                f"result of that job, {remedy} into another directory"
            )

    def _find_own_change(self, job: int, state: FileState) -> bool | None:
        """Return whether the file's job changed it; None while the job has not ended."""
        try:
            found = self._client.get(f"jobs/{job}")
        except NoSuchJob:
            return False
        if found["state"] not in _FINAL:
            return None
        ended_ms = found.get("ended_ms")
        return ended_ms is not None and is_own_change(state.mtime_ns // 1_000_000, int(ended_ms))

    def _make_body(self, path: str, state: FileState) -> dict[str, Any]:
        try:
            text = path.encode("utf-8")
        except UnicodeEncodeError:
            raise BadRequest("its name is not valid UTF-8; rename it") from None
        identity = b"\0".join([self._options.command.encode(), text, repr(tuple(state)).encode()])
        body: dict[str, Any] = {
            "command": self._options.command,
            "arguments": {**self._options.arguments, self._options.parameter: path},
            # The same content of the same file has one job, whatever this program forgot.
            "key": f"watch:{hashlib.sha256(identity).hexdigest()[:40]}",
        }
        if not self._options.has_subject:
            body["subject"] = path
        if self._options.priority:
            body["priority"] = self._options.priority
        return body

    def _load(self) -> bool:
        """Read the state file; return whether there is one."""
        known = read_state_file(self._state)
        if known is not None:
            self._tracker.known = known
        return known is not None

    def _save(self) -> None:
        if not self._is_changed:
            return
        known = self._tracker.known
        if len(known) > _MAX_KNOWN:
            self._tracker.known = known = {
                path: each for path, each in known.items() if os.path.lexists(path)
            }
        try:
            write_state_file(self._state, self._options.directory, self._options.command, known)
        except OSError as error:
            # The queue knows the keys of the jobs, so the watch works on without the file.
            if not self._is_unsaved:
                self._is_unsaved = True
                self._note(f"cannot write {self._state}: {error.strerror}; trying again")
            return
        self._is_changed = self._is_unsaved = False
