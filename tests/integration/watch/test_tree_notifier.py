"""Notifications of real directories."""

import os
import resource
import select
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from mythjobs.watch.tree_notifier import TreeNotifier

_TIMEOUT_S = 60


def is_notified(notifier: TreeNotifier, *, timeout_s: float = _TIMEOUT_S) -> bool:
    ready, _, _ = select.select(notifier.fds, [], [], timeout_s)
    return bool(ready)


@contextmanager
def no_more_descriptors() -> Iterator[None]:
    """Let the next open file of this process fail with EMFILE."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with open(os.devnull) as file:
        free = file.fileno()
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_directory_that_appears_is_watched_too(tmp_path: Path) -> None:
    notes: list[str] = []
    with closing(TreeNotifier(str(tmp_path), 30, notes.append, is_recursive=True)) as notifier:
        assert notifier.is_complete
        (tmp_path / "below").mkdir()
        (tmp_path / ".hidden").mkdir()
        assert is_notified(notifier)
        notifier.read_changes()
        (tmp_path / ".hidden" / "a").touch()
        assert not is_notified(notifier, timeout_s=0)
        (tmp_path / "below" / "a").touch()
        assert is_notified(notifier)
    assert notes == []


def test_a_directory_below_is_not_watched_unless_asked(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    with closing(TreeNotifier(str(tmp_path), 30, lambda _: None, is_recursive=False)) as notifier:
        (tmp_path / "below" / "a").touch()
        assert not is_notified(notifier, timeout_s=0)
        (tmp_path / "a").touch()
        assert is_notified(notifier)


def test_a_replaced_directory_is_watched_after_renew(tmp_path: Path) -> None:
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    with closing(TreeNotifier(str(inbox), 30, lambda _: None, is_recursive=True)) as notifier:
        inbox.rename(tmp_path / "before")
        inbox.mkdir()
        assert is_notified(notifier)
        notifier.read_changes()
        (inbox / "a").touch()
        assert not is_notified(notifier, timeout_s=0)
        notifier.renew()
        assert notifier.is_complete
        (inbox / "b").touch()
        assert is_notified(notifier)


def test_a_directory_is_read_at_intervals_if_nothing_can_notify(tmp_path: Path) -> None:
    notes: list[str] = []
    with no_more_descriptors():
        notifier = TreeNotifier(str(tmp_path), 30, notes.append, is_recursive=True)
    with closing(notifier):
        notifier.renew()
        notifier.read_changes()
        assert not notifier.is_complete
        assert notifier.fds == []
    assert notes == [
        "no notifications of changes (too many watches, see sysctl "
        "fs.inotify.max_user_instances): the directory is read every 30 s"
    ]
